"""The command `set`: one value in a state that no live process owns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from autostate.cli import console, paths, plain, shared
from autostate.cli.choosing import choose_to_write
from autostate.cli.editing import Edit, Make
from autostate.cli.errors import CommandError
from autostate.cli.typed import Typed
from autostate.cli.values import check_name
from autostate.cli.writing import held
from autostate.codec import dump
from autostate.errors import StateInUseError
from autostate.journal.commit import NodeState
from autostate.runtime.stored_state import StoredState, read_state
from autostate.settings import Settings
from autostate.shared.assigning import assign
from autostate.shared.keys import text_of

Maker = Callable[[dict[int, NodeState]], Make]
"""Gives what makes the new value, once the nodes of the state are known."""
Tell = Callable[[Edit], str]
"""Gives what is printed of a change."""
STDIN: Final = "-"
"""What stands for a value that is read from standard input."""


def set(  # noqa: A001 - the name of the command
    *,
    name: str,
    path: str,
    value: str,
    way: str | None,
    secret: bool,
    url: str | None,
    program: str | None,
    as_json: bool,
) -> None:
    """Set the value at a path in a state object.

    Args:
        name: The state object.
        path: The path in it.
        value: The value; `-` reads it from standard input.
        way: How it is written, if it is to have a type of its own.
        secret: Whether it is to be a secret.
        url: As for `choose`.
        program: As for `choose`.
        as_json: Print JSON.
    """
    chosen = choose_to_write(url, program)
    _check_text(path, "the path")
    _check_text(value, "VALUE")
    steps = paths.parsed([path])
    state = read_state(chosen)
    among = shared.only_shared(chosen, name)
    if among is None:
        check_name(state, name)
        if state.alive:
            raise StateInUseError(owner=state.owner)
    else:
        shared.check_settable(among, name, steps)
    text = console.read(f"The value of {name} {path}".rstrip()) if value == STDIN else value
    make = _maker(text, way, secret=secret, hides=value == STDIN)
    where = chosen if among is None else among.url

    def tell(edit: Edit) -> str:
        if as_json:
            told = {"store": where, "name": name, "path": edit.path, "was": edit.was}
            more = {"is": edit.new, "added": edit.is_new, "shared": among is not None}
            return plain.as_json({**told, **more})
        was = " (new)" if edit.is_new else f" (was {plain.short(edit.was)})"
        return f"{edit.path} is {plain.short(edit.new)}{was}"

    if among is None:
        Edit(state, name).line(steps, make(state.nodes))
        told = _set_own(where, name, steps, make, tell)
    else:
        told = _set_shared(where, name, steps, make, tell)
    console.write_exactly(told)


def _check_text(word: str, what: str) -> None:
    """Refuse what the shell has given in another encoding: Python has put surrogates into it.

    Raises:
        CommandError: It is no text.
    """
    try:
        word.encode(errors="strict")
    except UnicodeEncodeError:
        raise CommandError(
            f"{what} is no text in {sys.getfilesystemencoding()}, the encoding of this shell: give "
            "bytes as base64, and odd characters as JSON, --as json"
        ) from None


def _set_own(url: str, name: str, steps: Sequence[Any], make: Maker, tell: Tell) -> str:
    """Set a value in the state of a program, as it is now: a process may have written since."""
    with held(url) as target:
        now = StoredState(target.url, target.nodes, None, None, None)
        check_name(now, name)
        edit = Edit(now, name)
        line, told = edit.line(steps, make(now.nodes)), tell(edit)
        target.commit([line])  # nothing can fail from here on
    return told


def _set_shared(url: str, name: str, steps: Sequence[Any], make: Maker, tell: Tell) -> str:
    """Set a value in a shared dict, also beside live processes: whoever sets it later wins."""
    told: list[str] = []

    def change(values: Mapping[str, str]) -> tuple[str, Any, str]:
        keys = {shared.stored_key(text): text for text in values}
        node = shared.dict_node(name, values)
        edit = Edit(StoredState(url, {1: node}, None, None, None), name)
        edit.line(steps, make({1: node}))
        told.append(tell(edit))
        assert edit.entry is not None  # of a dict
        key, value = edit.entry
        return keys.get(key) or text_of(key), key, dump(value).decode()

    assign(url, name, change, Settings.for_store(url))
    return told[-1]


def _maker(text: str, way: str | None, *, secret: bool, hides: bool) -> Maker:
    """Give what makes the new value, once the nodes of the state are known."""

    def make(nodes: dict[int, NodeState]) -> Make:
        typed = Typed(nodes, hides=hides)
        if secret:
            return lambda old: typed.secret(text, old, way)
        if way is not None:
            return lambda _: typed.as_given(text, way)
        return lambda old: typed.like(text, old)

    return make
