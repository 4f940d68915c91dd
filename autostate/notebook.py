"""How notebooks show state objects: as tables, in which nested containers can be opened.

IPython is told of the classes by their names. So nothing is imported for this but this module, and
the containers get no attribute: a key of theirs, or a method of a class that is based on them, may
have any name.
"""

from __future__ import annotations

import contextlib
import html
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from autostate.objects.entries import SHOWABLE, first_entries
from autostate.runtime.names import name_of

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_BASES: Final = {
    "autostate.containers.root": "StateObject",
    "autostate.shared.container": "SharedContainer",
    "autostate.objects.decorator": "Silencer",
}
"""The bases of all classes whose objects are shown, by their modules.

Of each there is one: IPython takes the first class that it meets under a name for all of them, and
the variants of a container's class have one name.
"""

SHOWN: Final = 50
"""The most entries of one container that are shown."""
CELLS: Final = 1_000
"""The most entries of one output; containers that would exceed it are shown without content."""
_TEXT: Final = 200
_LEVELS: Final = 8
_HEAD: Final = "vertical-align:top;text-align:left"
_NUMBERS: Final = (bool, int, float, complex, type(None))


def register(shell: InteractiveShell | None = None) -> None:
    """Let a shell of IPython show state objects.

    Args:
        shell: The shell; None: that of the process, if there is one.
    """
    if shell is None:
        find: Any = getattr(sys.modules.get("IPython"), "get_ipython", None)
        shell = None if find is None else find()
    formatter = getattr(shell, "display_formatter", None)
    if formatter is not None:
        for module, name in _BASES.items():
            formatter.formatters["text/html"].for_type_by_name(module, name, shown)


def shown(value: Any) -> str | None:
    """Give a state object as HTML; None if it is to be shown as text.

    A class of the program may say by `_repr_html_` how its objects are shown.
    """
    own = getattr(type(value), "_repr_html_", None)
    if own is not None:
        made: str | None = own(value)
        return made
    table = _Table()
    entries, size = _rows_of(value)
    body = table.content(entries, size, frozenset({id(value)}))
    return f"<div><b>{html.escape(_title(value))}</b> {_counted(size)}{body}</div>"


def _title(value: Any) -> str:
    cls = type(value).__name__
    try:
        return f"{cls} {_named(value)!r}"
    except TypeError:  # nested, or a plain copy
        return cls


def _named(value: Any) -> str:
    info = getattr(type(value), "_info_", None)
    return name_of(value) if info is None else str(info(value).name)


def _counted(size: int) -> str:
    return f"<small>{size:,} {'entry' if size == 1 else 'entries'}</small>"


def _rows_of(value: Any) -> tuple[list[tuple[str | None, Any]], int]:
    """Give the first entries, each with its key as text, or none in a set; and the number."""
    entries, size = first_entries(value, SHOWN)
    if isinstance(value, (set, frozenset)):
        return [(None, member) for _, member in entries], size
    show = _text if isinstance(value, dict) else str
    return [(show(key), item) for key, item in entries], size


def _text(value: Any) -> str:
    """Give a value as text; a long one is cut short."""
    if type(value) in (str, bytes) and len(value) > _TEXT:
        return f"{value[:_TEXT]!r}…"
    try:
        text = repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"


class _Table:
    """One output, of bounded size."""

    def __init__(self) -> None:
        self._left = CELLS

    def content(
        self, entries: Sequence[tuple[str | None, Any]], size: int, inside: frozenset[int]
    ) -> str:
        """Give the entries of a container as a table.

        Args:
            entries: The first of its entries.
            size: How many it has.
            inside: The containers around it, and itself, by `id`.
        """
        return f"<table><tbody>{''.join(self._rows(entries, size, inside))}</tbody></table>"

    def _rows(
        self, entries: Sequence[tuple[str | None, Any]], size: int, inside: frozenset[int]
    ) -> Iterator[str]:
        told = entries[: self._left]
        self._left -= len(told)
        numbers = all(type(item) in _NUMBERS for _, item in told)
        align = f"vertical-align:top;text-align:{'right' if numbers else 'left'}"
        for key, item in told:
            head = "" if key is None else f"<th style='{_HEAD}'>{html.escape(key)}</th>"
            yield f"<tr>{head}<td style='{align}'>{self._cell(item, inside)}</td></tr>"
        if len(told) < size:
            yield f"<tr><td colspan='2'>… and {size - len(told):,} more</td></tr>"

    def _cell(self, value: Any, inside: frozenset[int]) -> str:
        if isinstance(value, SHOWABLE):
            with contextlib.suppress(Exception):  # of code of a class of the program
                if len(value):
                    return self._container(value, inside)
        return html.escape(_text(value))

    def _container(self, value: Any, inside: frozenset[int]) -> str:
        title = f"{html.escape(type(value).__name__)} {_counted(len(value))}"
        if id(value) in inside or len(inside) > _LEVELS or self._left <= 0:
            return f"{title} …"
        body = self.content(*_rows_of(value), inside | {id(value)})
        return f"<details><summary>{title}</summary>{body}</details>"
