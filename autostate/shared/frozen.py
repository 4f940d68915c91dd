"""Containers inside the values of a shared dict: real ones whose every write raises TypeError.

A shared dict publishes a value as a whole. A write inside it would change the view of this process
alone, and be lost; so it raises, and says what to do instead.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from reprlib import recursive_repr
from typing import Any, ClassVar, Final, NoReturn

from autostate.codec.registry import BUILTIN, ENCODERS
from autostate.shared.container import reduced, refused
from autostate.tracking.barrier import Barrier, kind_of

_ONE_VALUE: Final = "a value inside a shared dict is one value: assign the whole: d[key] = …"

_DICT: Final = (
    *("__init__", "__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem"),
    *("setdefault", "update"),
)
_SEQUENCE: Final = (
    *("__init__", "__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "clear"),
    *("extend", "insert", "pop", "remove", "reverse"),
)
MUTATING: Final[dict[Any, tuple[str, ...]]] = {
    dict: _DICT,
    OrderedDict: (*_DICT, "move_to_end"),
    defaultdict: _DICT,
    Counter: (*_DICT, "subtract", "__iadd__", "__isub__", "__iand__", "__ixor__", "_keep_positive"),
    list: (*_SEQUENCE, "sort"),
    deque: (*_SEQUENCE, "appendleft", "extendleft", "popleft", "rotate"),
    bytearray: (*_SEQUENCE, "resize", "take_bytes"),
    set: (
        *("__init__", "__iand__", "__ior__", "__isub__", "__ixor__", "add", "clear"),
        *("difference_update", "discard", "intersection_update", "pop", "remove"),
        *("symmetric_difference_update", "update"),
    ),
}
"""The methods that change a container, of any version of Python."""


class Frozen:
    """The base of the frozen containers. Copies, pickles and results of operators are plain.

    Attributes:
        _builtin_: The plain type.
    """

    __slots__ = ()
    _builtin_: ClassVar[Any]


def _new(builtin: Any) -> Callable[..., Any]:
    """Make `__new__`: `type(value)(…)`, which some methods of builtins call, gives a plain one."""

    def __new__(_cls: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        return builtin(*args, **kwargs)

    return __new__


def _copy(self: Any) -> Any:
    """Make a plain, shallow copy."""
    builtin = self._builtin_
    if builtin is deque:
        return deque(self, self.maxlen)
    return defaultdict(self.default_factory, self) if builtin is defaultdict else builtin(self)


def _missing(self: Any, key: Any) -> Any:
    """Give what a defaultdict would put there; nothing is put."""
    if self.default_factory is None:
        raise KeyError(key)
    return frozen(self.default_factory())


def _refuse_factory(self: Any, _factory: Any) -> NoReturn:
    raise TypeError(f"{type(self).__name__}.default_factory: {_ONE_VALUE}")


def _frozen_class(builtin: Any) -> Any:
    methods: dict[str, Any] = {
        name: refused(builtin, name, _ONE_VALUE)
        for name in MUTATING[builtin]
        if hasattr(builtin, name)
    }
    methods |= {
        "__slots__": (),
        "_builtin_": builtin,
        "__doc__": f"A {builtin.__name__} of which every write raises TypeError.",
        "__module__": __name__,
        "__new__": _new(builtin),
        "__copy__": _copy,
        "copy": _copy,
        "__reduce_ex__": lambda self, _protocol: reduced(_copy(self)),
        "__reduce__": lambda self: reduced(_copy(self)),
    }
    if builtin not in {dict, list}:  # whose repr does not have the name of the class
        methods["__repr__"] = recursive_repr("...")(lambda self: repr(_copy(self)))
    if builtin is defaultdict:
        read = vars(defaultdict)["default_factory"].__get__
        methods |= {"__missing__": _missing, "default_factory": property(read, _refuse_factory)}
    name = builtin.__name__
    return type(f"Frozen{name[0].upper()}{name[1:]}", (Frozen, builtin), methods)


_CLASSES: Final = {builtin: _frozen_class(builtin) for builtin in MUTATING}

for _builtin, _cls in _CLASSES.items():  # a state may hold a value of a shared dict: it is saved
    ENCODERS[_cls] = ENCODERS[_builtin]  # as the plain container, and rebuilt as one
    BUILTIN.add(_cls)


def frozen(value: Any) -> Any:
    """Convert a value deeply: every container in it is replaced by a frozen one.

    Tuples are made anew where they hold containers. Keys and members cannot hold any, for they are
    hashable. Objects of other classes stay as they are.
    """
    return _frozen(value, {})


def _frozen(value: Any, made: dict[int, Any]) -> Any:
    """Convert a value; `made` has the containers that were met, which may hold one another."""
    builtin: Any = type(value)
    if builtin is tuple or (isinstance(value, tuple) and hasattr(value, "_fields")):
        items = [_frozen(item, made) for item in value]
        if all(item is known for item, known in zip(items, value, strict=True)):
            return value
        return tuple.__new__(builtin, items)
    if isinstance(value, Barrier):
        builtin = kind_of(value).builtin
    cls = _CLASSES.get(builtin)
    if cls is None:
        return value
    if id(value) in made:
        return made[id(value)]
    new = made[id(value)] = builtin.__new__(cls)
    _fill(builtin, new, value, made)
    return new


def _fill(builtin: Any, new: Any, value: Any, made: dict[int, Any]) -> None:
    """Fill an empty frozen container by the builtin's functions."""
    if builtin is defaultdict:
        defaultdict.__init__(new, value.default_factory)
    if issubclass(builtin, dict):
        # An OrderedDict has an order of its own, which the functions of dict do not know.
        entries = OrderedDict.items(value) if builtin is OrderedDict else dict.items(value)
        for key, item in entries:
            builtin.__setitem__(new, key, _frozen(item, made))
    elif builtin is deque:
        deque.__init__(new, (), value.maxlen)
        for item in value:
            deque.append(new, _frozen(item, made))
    elif builtin is list:
        for item in value:
            list.append(new, _frozen(item, made))
    else:
        builtin.__init__(new, value)
