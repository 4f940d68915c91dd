"""The choice of a command's store: the one that the program would use, as far as that is known."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from autostate.cli.errors import CommandError, UsageError
from autostate.errors import AutostateError
from autostate.journal.head import PREFIX
from autostate.runtime.opening import open_state
from autostate.runtime.place import SHARED
from autostate.settings import SHARED_VARIABLE, Settings, _inside_actor, scheme
from autostate.shared.stored import is_in
from autostate.stores.readonly import refused
from autostate.stores.urls import normalized

FOLDER: Final = Path(".autostate")
VARIABLE: Final = "AUTOSTATE_URL"
_PROGRAM: Final = "{program}"
"""What stands for the name of a program in a URL."""


@dataclass(frozen=True)
class Choice:
    """A chosen store, and the reason for the choice.

    Attributes:
        url: The URL of the store.
        why: The reason, to be read after "because".
    """

    url: str
    why: str


def stores_here() -> list[Path]:
    """Give the stores of programs that ran in this folder."""
    found = sorted(each for each in FOLDER.glob("*.db") if each.is_file())
    return [each for each in found if not (each.stem == SHARED and _is_shared_only(each))]


def shared_here() -> Path | None:
    """Give the store that the programs of this folder share, if there is one."""
    path = FOLDER / f"{SHARED}.db"
    return path if path.is_file() and path not in stores_here() else None


def _is_shared_only(path: Path) -> bool:
    """Tell whether a store holds a shared state, and no state of a program called `shared`."""
    url = f"sqlite:///{path}"
    try:
        with contextlib.closing(open_state(url, Settings.for_store(url), readonly=True)) as store:
            return is_in(store) and not store.list(PREFIX)
    except AutostateError:
        return False


def actors_storage() -> Path | None:
    """Give the folder of an Actor's default key-value store here, if it holds a state."""
    from autostate.stores.apify import is_at_home, local_folder

    folder = None if is_at_home() else local_folder(None)
    return folder if folder is not None and any(folder.glob("autostate-*")) else None


def choose(url: str | None = None, program: str | None = None) -> Choice:
    """Choose a store that a command can use; see `look_up`.

    Raises:
        CommandError: As of `look_up`; or the store is the memory of a process.
        UsageError: As of `look_up`.
        ValueError: As of `look_up`.
    """
    found = look_up(url, program)
    if not os.environ.get(SHARED_VARIABLE, "").strip():  # else commands see what is shared
        refuse_memory(found.url)
    return found


def choose_to_write(url: str | None = None, program: str | None = None) -> str:
    """Choose a store that a command is to change; see `choose`.

    Raises:
        ReadOnlyError: The environment allows no writing.
    """
    chosen = choose(url, program).url
    check_writable(chosen)
    return chosen


def check_writable(url: str) -> None:
    """Refuse to change a store if the environment says that states are only read.

    Raises:
        ReadOnlyError: It does.
    """
    if Settings.for_store(url).readonly:
        raise refused(url)


def refuse_memory(url: str) -> None:
    """Refuse a store of which a command has another one than the program.

    Raises:
        CommandError: It is the memory of a process.
    """
    if scheme(url) == "memory":
        raise CommandError(
            f"{url} is the memory of a process, which no other one sees, and which ends with it: "
            "name another store"
        )


def look_up(url: str | None = None, program: str | None = None) -> Choice:
    """Choose a store as the program does.

    Args:
        url: The URL or path, if the user gives one.
        program: The name of a program, if the user gives one.

    Raises:
        CommandError: There is no store, or several that may be meant.
        UsageError: Both a URL and a program are given.
        ValueError: `url` is not the URL of a store.
    """
    if url is not None and program is not None:
        raise UsageError("--url and --program name two stores: give one of them")
    if program is not None:
        _check_program(program)
    if url is not None:
        return Choice(normalized(Path(url) if is_path(url) else url), "--url names it")
    named = os.environ.get(VARIABLE, "").strip()
    if program is not None:
        return _of_program(program, named)
    if _PROGRAM in named:
        raise CommandError(
            f"the environment variable {VARIABLE} names a store for each {_PROGRAM}: name the one "
            "that is meant, --program NAME"
        )
    if named:
        return Choice(normalized(named), f"the environment variable {VARIABLE} names it")
    if _inside_actor(os.environ):
        return Choice("apify:", "this is an Actor, which uses its default key-value store")
    found, storage = stores_here(), actors_storage()
    if storage is not None and not found:
        return Choice("apify:", f"an Actor that ran here has a state in {storage}")
    if not found and (named := os.environ.get(SHARED_VARIABLE, "").strip()):
        return Choice(normalized(named), f"the environment variable {SHARED_VARIABLE} names it")
    if not found and (shared := shared_here()) is not None:
        return Choice(f"sqlite:///{shared}", f"programs share it, and none has its own in {FOLDER}")
    if not found:
        raise CommandError(
            f"there is no state in {Path.cwd()}: {FOLDER} holds no store. Go to the folder in "
            f"which the program runs; or name the store: --url, or {VARIABLE}"
        )
    if len(found) > 1 or storage is not None:
        also = "" if storage is None else f"; and that of an Actor in {storage}: --url apify:"
        raise CommandError(
            f"there are several stores here, in {FOLDER} one for each program: "
            f"{', '.join(each.stem for each in found)}. Choose one: --program {found[0].stem}{also}"
        )
    return Choice(f"sqlite:///{found[0]}", f"it is the only store in {FOLDER}")


def is_path(source: str) -> bool:
    """Tell whether the user has given the path of a file where the URL of a store may stand."""
    return ":" not in source.partition("/")[0]


def _check_program(program: str) -> None:
    """Refuse what cannot be the name of a program's file, but that of another folder."""
    name = program.removesuffix(".py")
    if name.strip(".") != "" and "/" not in name and name.isprintable():
        return
    parts = [each for each in name.split("/") if each.strip(".")]
    raise UsageError(
        f"{program!r} is no name of a program, which has points in the place of slashes: say "
        f"--program {'.'.join(parts) or 'crawl'}"
    )


def _of_program(program: str, named: str) -> Choice:
    name, why = program.removesuffix(".py"), f"it is that of the program {program}"
    if _PROGRAM in named:
        why += f", says the environment variable {VARIABLE}"
        return Choice(normalized(named.replace(_PROGRAM, name)), why)
    path = FOLDER / f"{name}.db"
    if not path.is_file():
        there = ", ".join(each.stem for each in stores_here()) or "none"
        raise CommandError(f"there is no {path}. Programs that have a store in {FOLDER}: {there}")
    return Choice(f"sqlite:///{path}", why)
