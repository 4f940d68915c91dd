"""The names of state objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autostate.ownership.state_names import OWN

if TYPE_CHECKING:
    from autostate.tracking.node import Node

LONGEST_NAME = 200


def check_name(name: str, *, own: bool = False) -> None:
    """Refuse an object that cannot be the name of a state object.

    Args:
        name: The name.
        own: Whether the name is the library's own.

    Raises:
        ValueError: The name is empty, too long, the library's own, has characters that no console
            shows, or was made of a secret.
    """
    if type(name) is not str or not name.strip():
        raise ValueError("a state object needs a name: a text that is not blank")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the name {name[:20]!r}… is longer than {LONGEST_NAME} characters")
    if not name.isprintable():
        raise ValueError(f"the name {name!r} has control or other unprintable characters")
    if "*" in name:
        _check_no_secret(name)
    if not own:
        check_not_own(name)


def _check_no_secret(name: str) -> None:
    from autostate.codec.secret import MASK  # here: hardly any name has an asterisk

    if MASK in name:
        raise ValueError(
            f"the name {name!r} has the mask of a secret in it, which is the same for all secrets: "
            "name what the secret belongs to, a user for example"
        )


def check_not_own(name: str) -> None:
    """Refuse the names of the library's own state objects.

    Raises:
        ValueError: The name is one of them.
    """
    if name.startswith(OWN):
        raise ValueError(
            f"the name {name!r} begins with {OWN!r}, under which the library keeps notes of "
            f"its own: choose another one, {'my-' + name!r} for example"
        )


def _root_of(obj: Any) -> Any:
    """Give the root of a state object: itself, or the root behind a proxy or an object."""
    from autostate.codec.bound import root_of

    root = root_of(obj)
    if root is None and hasattr(type(obj), "_self_state"):
        root = obj._self_state()
    return obj if root is None else root


def node_of(obj: Any) -> Node | None:
    """Give the node to which a state object, or a container nested in one, belongs."""
    from autostate.codec.bound import is_container

    root = _root_of(obj)
    return root._node_ if is_container(root) else None


def name_of(obj: Any) -> str:
    """Give the name of a state object, which is given itself or by name."""
    if type(obj) is str:
        check_not_own(obj)
        return obj
    from autostate.codec.bound import is_container

    known, obj = obj, _root_of(obj)
    node = obj._node_ if is_container(obj) else None
    if node is None:
        raise TypeError(f"this {type(known).__name__} is no state object that is bound to a store")
    if node.name is None or node.obj is not obj:
        raise TypeError(
            "this object is nested in a state object: ask about the one that has a name"
        )
    return str(node.name)
