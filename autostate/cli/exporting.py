"""The command `export`."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from autostate.cli import console, document, escapes, exchange, points, shared
from autostate.cli.choosing import choose
from autostate.cli.errors import CommandError, UsageError
from autostate.cli.past import point
from autostate.cli.values import Values, check_name
from autostate.files import ALONE, check_free
from autostate.journal.commit import NodeState
from autostate.process.interrupts import uninterrupted
from autostate.runtime.stored_state import StoredState
from autostate.stores.sqlite_file import publish

STDOUT: Final = "-"


def export(
    *,
    file: str,
    names: list[str],
    form: str,
    table: str,
    at: str | None,
    reveal: bool,
    url: str | None,
    program: str | None,
    as_json: bool,
) -> None:
    """Write state objects into a file of another format."""
    chosen = points.Point(choose(url, program).url, None if at is None else point(at))
    if file != STDOUT:
        check_free(Path(file).absolute())
    state = chosen.state()
    shares = _shares(state, [name for name in names if name not in state.roots], at)
    for name in names:
        if name not in shares:
            check_name(state, name)
    names = names or list(state.roots)
    if not names:
        there = [name for each in shared.found(state.url) for name in each.objects]
        also = f"; what programs share is exported by its name: {', '.join(there)}" if there else ""
        raise CommandError(f"{chosen} holds no state object that could be exported{also}")
    begin = max(state.nodes, default=0) + 1
    nodes = {begin + at: node for at, node in enumerate(shares.values())}
    state = replace(state, nodes={**state.nodes, **nodes})
    if form == "json":
        _put(file, document.make(state, names, reveal=reveal))
    else:
        if len(names) != 1:
            raise UsageError(
                f"a file of the format {form} holds one state object: name it after the file"
            )
        _write(file, state, names[0], (form, table), reveal=reveal)
    if as_json and file != STDOUT:
        told = {"store": str(chosen), "file": file, "format": form, "objects": names}
        console.write_json(told)
    elif file != STDOUT:
        console.write(f"exported into {file}: {', '.join(names)}")


def _shares(state: StoredState, names: list[str], at: str | None) -> dict[str, NodeState]:
    """Read objects that programs share, as what they are published as; the names of others stay.

    Raises:
        CommandError: They are to be as of a commit, or cannot be exported.
    """
    found = {name: each for name in names if (each := shared.object_of(name, state)) is not None}
    if found and at is not None:
        raise shared.without_history([*found])
    return {name: shared.node_of(name, stored) for name, (_, stored) in found.items()}


def _write(
    file: str, state: StoredState, name: str, kind: tuple[str, str], *, reveal: bool
) -> None:
    form, table = kind
    if form == "use_state":
        _put(file, exchange.record(Values(state).of(name), name, reveal=reveal))
        return
    if file == STDOUT:
        raise UsageError(f"the format {form} is no text: name a file")
    value: Any = exchange.Exact(state).checked(name, reveal=reveal)
    if form == "shelve":
        _make(file, lambda path: exchange.write_shelf(path, value, name))
    elif form == "sqlitedict":
        _make(file, lambda path: exchange.write_sqlitedict(path, value, name, table))
    else:
        _make(file, lambda path: exchange.write_pickle(path, value))


def _put(file: str, data: bytes) -> None:
    if file == STDOUT and sys.stdout.isatty():
        console.write_exactly(escapes.in_json(data.decode()).removesuffix("\n"))
        return
    if file == STDOUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        return
    _make(file, lambda path: path.write_bytes(data))


def _make(file: str, write: Callable[[Path], object]) -> None:
    """Make a file, or the files of a shelf, for this user alone; overwrite nothing."""
    target = Path(file).absolute()
    folder = target.with_name(f"{target.name}.new-{secrets.token_hex(8)}")
    try:
        try:
            folder.mkdir(mode=0o700)
            write(folder / target.name)
        except OSError as error:  # of a file whose name nobody has given
            if error.errno is None:  # of a module that makes shelves
                raise CommandError(f"{target} cannot be written: {error}") from None
            error.filename = str(target)
            raise
        made = sorted(folder.iterdir())
        for each in made:
            check_free(target.parent / each.name)
        for each in made:
            each.chmod(ALONE)
            publish(each, target.parent / each.name)
    finally:
        uninterrupted(lambda: shutil.rmtree(folder, ignore_errors=True))
