"""What persisted containers do otherwise than the builtins, as far as CPython's tests notice.

One line a reason. A test that is named here must fail: when it passes, its name has to go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.cpython.factories import STATES


@dataclass(frozen=True)
class Difference:
    """Tests that fail for one reason.

    Attributes:
        reason: Why, and why that is as it should be.
        tests: By kind: `Class.test`.
        states: In which states of tracking; all by default.
        since: The first version of Python whose test fails.
        before: The first version whose test does not fail any more.
    """

    reason: str
    tests: dict[str, tuple[str, ...]]
    states: tuple[str, ...] = STATES
    since: tuple[int, int] = (3, 0)
    before: tuple[int, int] = (4, 0)


BOUND: Final = tuple(state for state in STATES if state != "unbound")

_ORDERED: Final = ("CPythonOrderedDictTests", "CPythonOrderedDictSubclassTests")


def _of_both(*tests: str) -> tuple[str, ...]:
    return tuple(f"{cls}.{test}" for cls in _ORDERED for test in tests)


DIFFERENCES: Final = (
    Difference(
        "the constructor of a state object takes its name first",
        {
            "counter": ("TestCounter.test_basics",),
            "deque": ("TestBasic.test_basics",),
            "list": ("ListTest.test_init",),
            "set": ("TestSet.test_init",),
        },
    ),
    Difference(
        "and takes no arguments that only a `__new__` of a subclass knows",
        {"list": ("ListTest.test_keywords_in_subclass",)},
    ),
    Difference(
        "defaults do not pass through the methods of a subclass",
        {"counter": ("TestCounter.test_helper_function",)},
    ),
    Difference(
        "copies, pickles and what operators make are plain builtins, of a subclass too",
        {
            "counter": ("TestCounter.test_copy_subclass",),
            "deque": (
                "TestSubclass.test_bug_31608",
                "TestSubclass.test_copy_pickle",
                "TestSubclass.test_pickle_recursive",
            ),
            "dict": ("DictTest.test_fromkeys",),
            "ordereddict": (
                "CPythonOrderedDictTests.test_merge_operator",
                "CPythonOrderedDictWithSlotsCopyingTests.test_copying",
                *_of_both("test_copying"),
            ),
            "set": ("TestSetSubclass.test_pickling", "TestSetSubclassWithSlots.test_pickling"),
        },
    ),
    Difference(
        "`type()` gives another class of the same name after a write",
        {"deque": ("TestBasic.test_comparisons",)},
        states=("armed", "recording", "capture", "nested"),
    ),
    Difference(
        "`type()` gives another class of the same name after a write",
        {"ordereddict": ("CPythonOrderedDictSubclassTests.test_merge_operator",)},
        states=BOUND,
    ),
    Difference(
        "`type()` gives another class of the same name after a write",
        {"set": ("TestSetSubclass.test_keywords_in_subclass",)},
        states=("disarmed",),
    ),
    Difference(
        "an object of a Python class is larger, and a list is filled item by item",
        {
            "deque": ("TestBasic.test_sizeof",),
            "list": ("ListTest.test_preallocation",),
            "ordereddict": _of_both("test_sizeof_exact"),
        },
    ),
    Difference(
        "the garbage collector looks at every object of a Python class",
        {"dict": ("DictTest.test_track_dynamic",)},
        before=(3, 14),  # from there on it looks at every dict
    ),
    Difference(
        "the garbage collector forgets dicts of scalars that lie in a root, and no others",
        {"dict": ("DictTest.test_copy_maintains_tracking", "DictTest.test_track_literals")},
        states=tuple(state for state in STATES if state != "nested"),
        before=(3, 14),
    ),
    Difference(
        "C code of the interpreter takes the short way for the exact class only",
        {
            "set": (
                "TestSet.test_do_not_rehash_dict_keys",
                "TestSetSubclass.test_do_not_rehash_dict_keys",
            ),
        },
    ),
    Difference(
        "what is recorded is hashed again",
        {"dict": ("DictTest.test_setdefault_atomic",)},
        states=BOUND,
    ),
    Difference(
        "what is recorded is hashed again",
        {"dict": ("DictTest.test_setitem_atomic_at_resize",)},
        states=("armed", "disarmed", "recording", "capture", "atomic"),
    ),
    Difference(
        "a cut and a block keep alive what they hold",
        {
            "dict": ("DictTest.test_container_iterator", "DictTest.test_free_after_iterating"),
            "deque": ("TestBasic.test_container_iterator", "TestSubclass.test_weakref"),
            "list": ("ListTest.test_free_after_iterating",),
            "set": tuple(
                f"{cls}.{test}"
                for cls in ("TestSet", "TestSetSubclass")
                for test in ("test_container_iterator", "test_free_after_iterating", "test_weakref")
            ),
        },
        states=("capture", "atomic"),
    ),
    Difference(
        "a cut and a block keep alive what they hold",
        {"ordereddict": _of_both("test_free_after_iterating", "test_reference_loop")},
        states=("capture",),
    ),
    Difference(
        "a cut and a block keep alive what they hold",
        {"ordereddict": ("CPythonOrderedDictTests.test_reference_loop",)},
        states=("atomic",),
    ),
    Difference(
        "classes of state objects are known for good, with what they refer to: here an instance",
        {"list": ("ListTest.test_free_after_iterating",)},
        states=("unbound", "armed", "disarmed", "recording", "nested"),
        since=(3, 13),
    ),
    Difference(
        "a state object is freed with the store to which it belongs, by the garbage collector",
        {"ordereddict": _of_both("test_highly_nested_subclass")},
        states=BOUND,
    ),
)
