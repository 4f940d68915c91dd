"""The commands, as `autostate --help` lists them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from autostate import __version__
from autostate.cli import paths, plain, shared, signing, tables
from autostate.cli.choosing import (
    VARIABLE,
    Choice,
    actors_storage,
    choose,
    is_path,
    shared_here,
    stores_here,
)
from autostate.cli.errors import CommandError
from autostate.cli.removing import check, remove
from autostate.cli.values import Values, check_name
from autostate.codec.registry import ignore_classes
from autostate.depth import MOST_LEVELS
from autostate.errors import AutostateError, StateInUseError
from autostate.journal.verifying import verify as verify_records
from autostate.process.exit_status import EX_TEMPFAIL
from autostate.runtime.backup import backup as back_up
from autostate.runtime.copying import copy as copy_state
from autostate.runtime.history import history, restore as restore_state
from autostate.runtime.opening import open_state
from autostate.runtime.stored_state import StoredState, read_state
from autostate.saving import spill
from autostate.settings import SHARED_VARIABLE, Settings
from autostate.shared.stored import is_in, verify as verify_shared
from autostate.shared.unpublished import discard_unpublished
from autostate.signing import KeyFile, Signer
from autostate.stores import file_of
from autostate.stores.urls import normalized

app = typer.Typer(
    help="Look at the state of a program, reset it, back it up.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Url = Annotated[
    str | None, typer.Option("--url", "-u", metavar="URL", help="The store: its URL, or its file.")
]
Program = Annotated[
    str | None,
    typer.Option(
        "--program", "-p", metavar="PROGRAM", help="The program whose store in .autostate/ it is."
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the state object.")]
Path_ = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH", help='A path in it: pages.3.title, or ["pages"][3].title.'),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def run() -> None:
    """Run a command; what goes wrong is one line, and an exit code."""
    ignore_classes()
    sys.setrecursionlimit(MOST_LEVELS * 5)  # what can be read can be shown
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="autostate")
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except StateInUseError as error:
        owner = error.owner or "another process"
        _fail(f"nothing was changed: the state belongs to {owner}. End that first", EX_TEMPFAIL)
    except (AutostateError, CommandError, OSError, ValueError) as error:
        _fail(str(error))


def _fail(message: str, code: int = 1) -> NoReturn:
    sys.stderr.write(f"autostate: {message}\n")
    raise SystemExit(code)


def _tell_version(wanted: bool) -> None:
    if wanted:
        _print(__version__)
        raise typer.Exit


@app.callback()
def about(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Look at the state of a program, reset it, back it up."""


@app.command()
def ls(url: Url = None, program: Program = None, as_json: Json = False) -> None:
    """List the state objects, and what programs share: kind, entries, bytes; who owns them."""
    state = _read(url, program)
    rows, shares = tables.object_rows(state), shared.found(state.url)
    if as_json:
        there = [shared.as_json(each) for each in shares]
        _print(plain.as_json({**tables.about(state), "objects": rows, "shared": there}))
        return
    if rows or not any(each.url == state.url for each in shares):
        tables.say(tables.heading(state))
        tables.table(tables.COLUMNS, [list(row.values()) for row in rows])
    shared.show_table(shares)


@app.command()
def show(  # noqa: PLR0917 - the arguments of a command
    name: Name,
    path: Path_ = None,
    url: Url = None,
    program: Program = None,
    as_json: Json = False,
    everything: Annotated[bool, typer.Option("--all", help="Also what is very long.")] = False,
) -> None:
    """Show a state object, or what is at a path in it."""
    value = _value(name, path, url, program)
    if as_json:
        _print(plain.as_json(value))
    else:
        tables.pretty(value, whole=everything)


@app.command()
def get(
    name: Name,
    path: Path_ = None,
    url: Url = None,
    program: Program = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Print what secrets hold.")] = False,
) -> None:
    """Print one value for a script: a text as it is, all else as JSON; exit code 1 if none."""
    _print(plain.as_text(_value(name, path, url, program), reveal=reveal))


@app.command()
def where(url: Url = None, program: Program = None) -> None:
    """Say which store is used here and why, and which ones there are."""
    try:
        chosen: Choice | None = choose(url, program)
    except CommandError as error:
        _print(str(error))
        chosen = None
    if chosen is not None:
        _print(f"{chosen.url}\nbecause {chosen.why}")
        for also in shared.urls(chosen.url)[1:]:
            _print(f"shared with other programs: {also}")
    rows = [_row(each.stem, each, each) for each in stores_here()]
    if (storage := actors_storage()) is not None:
        rows.append(_row("an Actor", storage, "apify:"))
    if (common := shared_here()) is not None:
        rows.append(_row("(shared)", common, common))
    tables.table(["program", "store", "objects", "bytes", "owner"], rows)


def _row(program: str, path: Path, url: str | Path) -> tuple[Any, ...]:
    """Tell of a store, also if it cannot be read."""
    files = path.glob("autostate-*") if path.is_dir() else [path]
    size = sum(each.stat().st_size for each in files)
    try:
        state = read_state(url)
    except AutostateError:
        return program, str(path), 0, size, "cannot be read: see verify"
    shares = [each for each in shared.found(state.url) if each.url == state.url]
    count = len(state.roots) + sum(len(each.objects) for each in shares)
    return program, str(path), count, size, tables.owner_of(state)


@app.command()
def verify(url: Url = None, program: Program = None) -> None:
    """Check everything that is stored; exit code 1 if something is damaged."""
    urls = shared.urls(choose(url, program).url)
    problems = [problem for each in urls for problem in _verified(each)]
    for problem in problems:
        sys.stderr.write(f"autostate: {problem}\n")
    if problems:
        raise SystemExit(1)
    _print("nothing is damaged")


def _verified(url: str) -> list[str]:
    """Check the state in a store, and what is shared there; tell how much that is."""
    settings = Settings.for_store(url)
    with contextlib.closing(open_state(url, settings, readonly=True)) as store:
        signer = Signer(store.url, lambda: settings.keys)
        found = [verify_records(store, signer, timeout=settings.flush_timeout)]
        if is_in(store, settings.flush_timeout):
            found.append(verify_shared(store, settings.flush_timeout))
    records, size = sum(each.records for each in found), sum(each.bytes for each in found)
    copies = sum(each.copies for each in found)
    kept = f"; copies of {copies} unreadable records are kept" if copies else ""
    _print(f"{store.url}: {records} records, {size} bytes{kept}")
    return [problem for each in found for problem in each.problems]


@app.command()
def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The new file.")],
    url: Url = None,
    program: Program = None,
) -> None:
    """Copy the state into a new file, also while its program runs."""
    target = Path(file) if is_path(file) else file_of(file)
    if target is None:
        raise ValueError(f"{file} is no file on this machine: a copy is a new SQLite file")
    chosen = choose(url, program).url
    _tell_of_copy(back_up(target, chosen))
    _tell_what_is_left(chosen)


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The store: its URL or file.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="An empty store, of any kind.")],
) -> None:
    """Copy the state into another store, also while its program runs; compare the copy."""
    from_, to = (normalized(Path(each) if is_path(each) else each) for each in (source, target))
    _warn_of_spills(from_)
    _tell_of_copy(copy_state(from_, to))
    _tell_what_is_left(from_)


def _tell_of_copy(made: str) -> None:
    _print(made)
    own, shares = shared.parts(made)
    for what, variable in (("the program", VARIABLE), ("all that share", SHARED_VARIABLE)):
        if own if variable == VARIABLE else shares:
            _print(f"To go on from this copy, on any machine, start {what} with {variable}={made}")
    path = file_of(made)
    if path is not None and (key := KeyFile(str(path)).path).exists():
        _print(f"Pickled values that were signed with {key} need that file, too: keep it private")


def _tell_what_is_left(url: str) -> None:
    for also in shared.urls(url)[1:]:
        _print(f"What it shares with other programs, in {also}, is not in the copy: copy that, too")


@app.command()
def log(url: Url = None, program: Program = None, as_json: Json = False) -> None:
    """List the commits of the history: number, time, bytes, and the objects that they changed."""
    commits = history(choose(url, program).url)
    rows: list[list[Any]] = [
        [each.number, each.time.isoformat(" ", "milliseconds"), each.size, [*each.objects]]
        for each in commits
    ]
    columns = ["number", "time", "bytes", "objects"]
    if as_json:
        _print(plain.as_json([dict(zip(columns, row, strict=True)) for row in rows]))
    else:
        tables.table(columns, [[*row[:-1], " ".join(row[-1])] for row in rows])


@app.command()
def restore(
    at: Annotated[
        str, typer.Option("--at", metavar="AT", help="The number of a commit; or a time in UTC.")
    ],
    url: Url = None,
    program: Program = None,
    yes: Yes = False,
) -> None:
    """Go back to a commit of the history, by a new commit."""
    chosen = choose(url, program).url
    number = int(at) if at.isdecimal() else None
    try:
        commit = datetime.fromisoformat(at) if number is None else number
    except ValueError:
        raise typer.BadParameter(
            f"{at!r} is neither the number of a commit nor a time, such as 2026-03-01T12:00"
        ) from None
    if isinstance(commit, datetime) and commit.tzinfo is None:
        commit = commit.replace(tzinfo=UTC)
    _ask(f"Make {chosen} what it was at {at}?", yes=yes)
    _print(f"done, by the commit {restore_state(chosen, at=commit)}")


@app.command()
def reset(name: Name, url: Url = None, program: Program = None, yes: Yes = False) -> None:
    """Put a state object back to nothing: the program begins it from its defaults."""
    _remove("reset", name, url, program, yes=yes)


@app.command()
def delete(name: Name, url: Url = None, program: Program = None, yes: Yes = False) -> None:
    """Remove a state object; of one that cannot be read, a copy is kept."""
    _remove("delete", name, url, program, yes=yes)


@app.command()
def discard(url: Url = None, program: Program = None, yes: Yes = False) -> None:
    """Give up what a killed process has left for a shared state that is gone."""
    chosen = choose(url, program).url
    if read_state(chosen).alive:
        raise StateInUseError(owner=read_state(chosen).owner)
    left = shared.unpublished(chosen)
    if left is None:
        raise CommandError(f"{chosen} holds no changes for a shared state")
    _ask(f"Give up {left}?", yes=yes)
    discard_unpublished(chosen)
    _print("given up")


def _remove(verb: str, name: str, url: str | None, program: str | None, *, yes: bool) -> None:
    chosen, begins_anew = choose(url, program).url, verb == "reset"
    if (state := shared.only_shared(chosen, name)) is not None:
        shared.check(verb, name, state)
        _ask(f"Reset {name}, which programs share, in {state.url}?", yes=yes)
        shared.remove(name, state)
        _print(f"{name} was reset")
        return
    check(chosen, name, readable=begins_anew)
    _ask(f"{verb.capitalize()} {name} in {chosen}?", yes=yes)
    remove(chosen, name, also_notes=begins_anew)
    _print(f"{name} was {'reset' if begins_anew else 'deleted'}")


@app.command()
def sign(
    url: Url = None,
    program: Program = None,
    yes: Yes = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove signatures and encryption instead.")
    ] = False,
) -> None:
    """Sign what is stored with the key that is set, AUTOSTATE_KEY, whoever has written it."""
    named = signing.check(choose(url, program).url, remove=remove)
    question = f"Whoever could write to {named} may have changed it. Sign what is there?"
    if remove:
        question = f"Remove all signatures, and encryption, from {named}?"
    if shared.parts(named)[1]:
        question += " First end all processes that share it."
    _ask(question, yes=yes)
    done = signing.sign(named, remove=remove)
    what = "are not protected any more" if remove else "were written anew with the first key"
    _print(f"{named}: {done.records} records {what}")
    if done.left:
        _fail(f"no key that is set fits these, and they were left: {', '.join(done.left)}")


def _read(url: str | None, program: str | None) -> StoredState:
    state = read_state(choose(url, program).url)
    _warn_of_spills(state.url)
    return state


def _warn_of_spills(url: str) -> None:
    for path in spill.pending(url):
        sys.stderr.write(
            f"autostate: {path} holds changes that a process could not save; they are left out. "
            "The next start of the program adds them\n"
        )


def _value(name: str, path: list[str] | None, url: str | None, program: str | None) -> Any:
    state = _read(url, program)
    if name not in state.roots and (found := shared.object_of(name, state)) is not None:
        value = shared.value_of(found[1])
    else:
        check_name(state, name)
        value = Values(state).of(name)
    return paths.follow(name, value, paths.parsed(path or []))


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        _fail("nothing was changed: there is no terminal to ask on, so say --yes", 2)
    if not typer.confirm(question):
        _fail("nothing was changed")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
