"""The command `import`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from autostate.cli import console, document, exchange, shared
from autostate.cli.choosing import FOLDER, check_writable, look_up, refuse_memory
from autostate.cli.errors import CommandError, UsageError
from autostate.cli.exporting import STDOUT
from autostate.cli.forms import form_of
from autostate.cli.writing import Held, held
from autostate.codec.raw import references
from autostate.errors import CorruptStateError, StateInUseError, StoreError
from autostate.journal.commit import NodeState
from autostate.runtime.stored_state import StoredState, read_state

_FIRST: Final = 1


def import_(
    *,
    file: str,
    name: str | None,
    form: str,
    table: str,
    trusted: bool,
    replace: bool,
    url: str | None,
    program: str | None,
    as_json: bool,
) -> None:
    """Make state objects of what a file holds."""
    target = _target(url, program)
    check_writable(target)
    try:
        found = _parsed(file, name, form, table, trusted=trusted)
    except UsageError:
        raise
    except CommandError as error:
        raise CommandError(f"nothing was imported from {file}: {error}") from None
    _check(target, found, replace=replace)
    with held(target) as state:
        there = {one: state.roots[one] for one in found.objects if one in state.roots}
        _refuse_existing(list(there), state.url, replace=replace)
        replaced = {one: (at, state.nodes[at]) for one, at in there.items()}
        _refuse_referred(replaced, found, state)
        state.commit([*found.lines(replaced, max(state.nodes, default=0) + _FIRST)])
    roots = found.state.roots
    kinds = {one: found.state.nodes[at].kind for one, at in roots.items()}
    if as_json:
        listed = [
            {"name": one, "kind": kind, "replaced": one in there} for one, kind in kinds.items()
        ]
        console.write_json({"store": target, "file": file, "format": form, "objects": listed})
        return
    told = ", ".join(f"{one} ({kind})" for one, kind in kinds.items())
    console.write(f"imported into {target}: {told or 'nothing'}")


def _target(url: str | None, program: str | None) -> str:
    """Give the URL of the store, which may be a new one if the user has named it."""
    try:
        found = look_up(url, program).url
    except CommandError as error:
        if program is None or isinstance(error, UsageError):
            raise
        return f"sqlite:///{FOLDER}/{program.removesuffix('.py')}.db"
    refuse_memory(found)
    return found


def _parsed(
    file: str, name: str | None, form: str, table: str, *, trusted: bool
) -> document.Parsed:
    if file != STDOUT and not _is_elsewhere(file, form):
        try:
            Path(file).stat()
        except FileNotFoundError:
            raise UsageError(f"there is no file {file}") from None
    stem = Path(file.rpartition(":")[2]).stem if name is None else name
    if form != "json":
        if file == STDOUT:
            raise UsageError(f"the format {form} is read from a file: name one")
        value = exchange.read(file, form, table=table, trusted=trusted)
        return document.Parsed({stem: exchange.form_of_value(value, stem)})
    data = console.read_bytes() if file == STDOUT else Path(file).read_bytes()
    found = document.parse(data)
    if found is None:
        if file == STDOUT and name is None:
            raise UsageError("what is read has no name: say what the state object is to be called")
        return document.Parsed({stem: exchange.form_of_value(document.parse_json(data), stem)})
    if name is not None and [*found.objects] != [name]:
        raise UsageError(
            f"the file holds {', '.join(found.objects) or 'nothing'} under these names: leave out "
            f"{name}"
        )
    return found


def _is_elsewhere(file: str, form: str) -> bool:
    """Tell whether what is read is no file of this name: a record of Apify, or parts of a shelf."""
    return form == "shelve" or (form == "use_state" and file.startswith("apify:"))


def _check(target: str, found: document.Parsed, *, replace: bool) -> None:
    """Refuse what can be seen to fail before a store is made or claimed."""
    try:
        state = read_state(target)
    except CorruptStateError:
        raise
    except StoreError:  # there is none yet, or it is told when it is opened
        return
    _refuse_existing([one for one in found.objects if one in state.roots], target, replace=replace)
    _refuse_shared(found, state)
    if state.alive:
        raise StateInUseError(owner=state.owner)


def _refuse_existing(names: list[str], url: str, *, replace: bool) -> None:
    if names and not replace:
        raise CommandError(
            f"nothing was imported: {url} holds {', '.join(names)} already. Say --replace to "
            "replace what is there"
        )


def _refuse_shared(found: document.Parsed, state: StoredState) -> None:
    """Refuse a name that programs share: a state object of that name would hide what they do."""
    for each in shared.found(state.url):
        names = [name for name in found.objects if name in each.objects and name not in state.roots]
        if names:
            raise CommandError(
                f"nothing was imported: in {each.url} programs share {', '.join(names)}, and what "
                "is imported belongs to one program. Let one of those that share write it"
            )


def _refuse_referred(
    replaced: dict[str, tuple[int, NodeState]], found: document.Parsed, state: Held
) -> None:
    """Refuse to replace a state object by another kind, if others refer to it."""
    gone = {at: one for one, (at, node) in replaced.items() if not found.fits(one, node)}
    if gone:
        referred: Any = {at for node in state.nodes.values() for at in references(form_of(node))}
        for at in gone.keys() & referred:
            raise CommandError(
                f"nothing was imported: {gone[at]} is found inside other state objects, and would "
                "become another kind there: delete it first"
            )
