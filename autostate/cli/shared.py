"""Shared objects, as the commands show and reset them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from autostate.cli import console, tables
from autostate.cli.errors import CommandError
from autostate.cli.values import Fields, Values
from autostate.codec import decode_key
from autostate.errors import AutostateError
from autostate.journal.commit import NodeState
from autostate.ownership.state_names import listed
from autostate.runtime.copying import parts_of
from autostate.runtime.opening import open_state
from autostate.runtime.place import place_of
from autostate.runtime.stored_state import StoredState, read_state
from autostate.settings import Settings
from autostate.shared.resetting import reset
from autostate.shared.stored import StoredObject, StoredShared, beside, read_shared
from autostate.shared.unpublished import NAME, Unpublished, left_in


def found(own: str) -> list[StoredShared]:
    """Read what is shared in the store of a program's own state, and beside it.

    What cannot be read is told on standard error.
    """
    states, problems = readable(own)
    for problem in problems:
        console.warn(problem)
    return states


def readable(own: str) -> tuple[list[StoredShared], list[str]]:
    """Read what is shared in the store of a program and beside it; tell what cannot be read.

    Args:
        own: The URL of the program's own state.

    Returns:
        The shared states, and why others cannot be read.
    """
    states, problems = list[StoredShared](), list[str]()
    for url in urls(own):
        try:
            state = read_shared(url, Settings.for_store(url))
        except AutostateError as error:
            problems.append(f"the shared state in {url} cannot be read: {error}")
        else:
            states += [] if state is None else [state]
    return states, problems


def urls(own: str) -> list[str]:
    """Give the store of a program's own state, and that of what it shares, if it is another one."""
    also = beside(own)
    return [own] if also is None or place_of(also) == place_of(own) else [own, also]


def parts(url: str) -> tuple[bool, bool]:
    """Tell whether a store holds a program's own state, and a shared one."""
    settings = Settings.for_store(url)
    with contextlib.closing(open_state(url, settings, readonly=True)) as store:
        return parts_of(store, settings)


def rows(state: StoredShared) -> list[dict[str, Any]]:
    """Give name, kind, number of entries and bytes of each shared object."""
    return [
        {
            "name": name,
            "kind": f"shared {each.kind}",
            "entries": len(each.content),
            "bytes": each.size,
        }
        for name, each in state.objects.items()
    ]


def as_json(state: StoredShared) -> dict[str, Any]:
    """Tell of a shared state."""
    return {"store": state.url, "writers": state.writers, "objects": rows(state)}


def heading(state: StoredShared) -> str:
    """Tell of a shared state in a line for a person."""
    return f"{state.url}\nshared; processes that have written since the last fold: {state.writers}"


def show_table(states: list[StoredShared]) -> None:
    """Print the shared objects, below those of the program's own state."""
    for state in states:
        tables.say(heading(state))
        tables.table(tables.COLUMNS, [list(row.values()) for row in rows(state)])


def value_of(stored: StoredObject) -> Any:
    """Give the content of a shared object.

    A value that a function of the program has yet to merge is shown as all of its candidates.
    """
    values = Values.of_none()
    keys = {text: values.key(_key_json(text)) for text in stored.content}
    if stored.kind == "set":
        return {*keys.values()}
    if stored.kind == "counter":
        return {keys[text]: number for text, number in stored.content.items()}
    return {keys[text]: _value(values, texts) for text, texts in stored.content.items()}


def _key_json(text: str) -> Any:
    return msgspec.json.decode(text[1:]) if text.startswith("=") else text


def node_of(name: str, stored: StoredObject) -> NodeState:
    """Give a shared object as a state object would be, with what is published.

    Raises:
        CommandError: A function of the program has yet to merge values of it.
    """
    if stored.kind == "dict":
        for text, texts in stored.content.items():
            if len(texts) > 1:
                raise CommandError(
                    f"{name} holds several values of {stored_key(text)!r}, which a function of its "
                    "programs has yet to merge: let one of them run, and flush"
                )
        return dict_node(name, {text: one for text, [one] in stored.content.items()})
    return NodeState(stored.kind, name, base={stored_key(t): v for t, v in stored.content.items()})


def dict_node(name: str, texts: Mapping[str, str]) -> NodeState:
    """Give a shared dict as a state object would be, of the texts of its keys and values."""
    content = {stored_key(text): msgspec.json.decode(value) for text, value in texts.items()}
    return NodeState("dict", name, base=content)


def stored_key(text: str) -> Any:
    """Give the key or member of a text, as nodes have it."""
    return decode_key(_key_json(text))


def check_settable(state: StoredShared, name: str, steps: Sequence[Any]) -> None:
    """Refuse to set what no process can set alone.

    Raises:
        CommandError: It is no dict, or all of one.
    """
    kind = state.objects[name].kind
    why = {
        "counter": "each process adds to it, so that none can say what it is to be",
        "set": "its members are added and removed one by one, by programs",
        "dict": "" if steps else "others write it, too: name one of its keys",
    }[kind]
    if why:
        raise CommandError(
            f"{name!r} is a shared {kind}, and cannot be set: {why}. `autostate reset {name}` "
            "brings it to nothing"
        )


def _value(values: Values, texts: Any) -> Any:
    found = [values.value(msgspec.json.decode(text)) for text in texts]
    return found[0] if len(found) == 1 else Fields.of_class(":Unmerged", {"values": found})


def object_of(name: str, state: StoredState) -> tuple[StoredShared, StoredObject] | None:
    """Find the shared object of a name; None: there are none at all.

    Args:
        name: The name.
        state: The program's own state, which has no such state object.

    Raises:
        CommandError: There are others; or it may be in a state that cannot be read.
    """
    states, problems = readable(state.url)
    for each in states:
        if name in each.objects:
            return each, each.objects[name]
    if problems:
        raise CommandError("; ".join(problems))
    names = [other for each in states for other in each.objects]
    if not names:
        return None
    raise CommandError(
        f"{state.url} holds no state object {name!r}, and no program shares one. "
        f"{listed([*state.roots, *names])}"
    )


def only_shared(own: str, name: str) -> StoredShared | None:
    """Find the shared state that has an object of a name, if the program's own state has none."""
    try:
        state = read_state(own)
    except AutostateError:  # the program's own state is told of
        return None
    there = None if name in state.roots else object_of(name, state)
    return None if there is None else there[0]


def without_history(names: Sequence[str]) -> CommandError:
    """Make the error for shared objects that are to be seen as of a commit."""
    return CommandError(f"programs share {', '.join(names)}, and that has no history")


def unpublished(state: StoredState) -> Unpublished | None:
    """Tell what a program's own state has for a shared one, and has not published."""
    found = [node.content for node in state.nodes.values() if node.name == NAME]
    return left_in(found[0], state.url) if found else None


def undeletable(name: str, state: StoredShared) -> CommandError:
    """Make the error for a shared object that is to be deleted."""
    return CommandError(
        f"{name!r} in {state.url} is a shared object, which cannot be deleted: a process that "
        f"knows it may publish at any time. `autostate reset {name}` brings it to nothing; to "
        "begin everything anew, end all processes that share it, and remove the store"
    )


def remove(name: str, state: StoredShared) -> None:
    """Reset a shared object."""
    reset(state.url, name, state.objects[name].kind, Settings.for_store(state.url))
