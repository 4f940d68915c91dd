"""The commands that copy a state: backup and copy."""

from __future__ import annotations

from pathlib import Path

from autostate.cli import console, shared
from autostate.cli.choosing import VARIABLE, choose, is_path, refuse_memory
from autostate.cli.reading import warn_of_spills
from autostate.runtime.backup import backup as back_up
from autostate.runtime.copying import copy as copy_state
from autostate.settings import SHARED_VARIABLE
from autostate.signing import KeyFile
from autostate.stores import file_of
from autostate.stores.urls import normalized


def backup(*, file: str, url: str | None, program: str | None, as_json: bool) -> None:
    """Copy the state into a new file, also while its program runs."""
    target = Path(file) if is_path(file) else file_of(file)
    if target is None:
        raise ValueError(f"{file} is no file on this machine: a copy is a new SQLite file")
    chosen = choose(url, program).url
    _tell(back_up(target, chosen), chosen, as_json=as_json)


def copy(*, source: str, target: str, as_json: bool) -> None:
    """Copy the state into another store, also while its program runs; compare the copy."""
    from_, to = (normalized(Path(each) if is_path(each) else each) for each in (source, target))
    refuse_memory(from_)
    refuse_memory(to)
    warn_of_spills(from_)
    _tell(copy_state(from_, to), from_, as_json=as_json)


def _tell(made: str, source: str, *, as_json: bool) -> None:
    """Tell how to go on from a copy, and what is not in it."""
    own, shares = shared.parts(made)
    path = file_of(made)
    key = None if path is None else KeyFile(str(path)).path
    key = key if key is not None and key.exists() else None
    left = shared.urls(source)[1:]
    if as_json:
        named = None if key is None else str(key)
        told = {"store": made, "own": own, "shared": shares, "key_file": named, "left_out": left}
        console.write_json(told)
        return
    console.write(made)
    for what, there, variable in (
        ("the program", own, VARIABLE),
        ("all that share", shares, SHARED_VARIABLE),
    ):
        if there:
            console.write(
                f"To go on from this copy, on any machine, start {what} with {variable}={made}"
            )
    if key is not None:
        console.write(
            f"Pickled values that were signed with {key} need that file, too: keep it private"
        )
    for also in left:
        console.write(
            f"What it shares with other programs, in {also}, is not in the copy: copy that, too"
        )
