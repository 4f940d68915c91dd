"""Stand-ins for the builtins: called as those are, they give persisted containers.

CPython's tests call `dict(...)`, `set(...)` and so on, and subclass them. A *factory* takes the
place of such a name: a call gives a state object, or what is nested in one, in the state of
tracking that is tested; a subclass of it is a user's subclass that names itself.
"""

from __future__ import annotations

import ctypes  # noqa: F401 - loaded at all times, so that dicts of scalars are always untracked
import itertools
import sys
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import pytest

from autostate.codec import registry
from autostate.containers.root import blank
from autostate.tracking import barrier
from autostate.tracking.barrier import Barrier
from autostate.tracking.capture import Capture
from autostate.tracking.kind import KINDS
from autostate.tracking.search import ATOMS
from tests.conformance.state_kit import BUILTIN, PERSISTED, ROOTS, Program, shape

STATES: Final = ("unbound", "armed", "disarmed", "recording", "capture", "atomic", "nested")
"""Of the container when a test gets it.

- unbound: of no store.
- armed: saved, and not written since; disarmed: written since.
- recording: as a large one; in this state every container counts as large.
- capture: of a cut that is not encoded yet.
- atomic: used inside a block of `atomic()`, so that every write is seen.
- nested: armed, inside a state object.
"""


MOST: Final = 20
"""So many of the containers that a test has made are looked at afterwards."""


class World:
    """Where the containers of one test live.

    Args:
        kind: Of the containers that are made.
        state: One of `STATES`.
    """

    def __init__(self, kind: str, state: str) -> None:
        self.kind = kind
        self.state = state
        self._names = (f"state{number}" for number in itertools.count())
        self._programs: list[weakref.ref[Program]] = []
        self._captures: weakref.WeakKeyDictionary[Program, Capture] = weakref.WeakKeyDictionary()
        self._shared: Program | None = None
        self._blocks = ExitStack()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let a test run, and check that what it leaves is what is saved."""
        with pytest.MonkeyPatch.context() as patch, _forgotten_classes():
            if self.state == "recording":
                for name, module in list(sys.modules.items()):
                    if name.startswith("autostate.tracking.") and hasattr(module, "LARGE"):
                        patch.setattr(module, "LARGE", 0)
            with self._blocks:
                if self.state == "atomic" and self.kind in ROOTS:
                    self._shared = self._program()
                    self._blocks.enter_context(self._shared.tracker.atomic())
                yield
            self._shared = None
            programs, self._programs = self._programs[-MOST:], []
            for reference in programs:
                if (program := reference()) is not None:
                    self._check_saved(program)

    def _program(self) -> Program:
        program = Program()
        self._programs.append(weakref.ref(program))
        return program

    def make(self, /, *args: Any, **kwargs: Any) -> Any:
        """Make a container from what the builtin takes, in the state that is tested."""
        content = {"in": BUILTIN[self.kind](*args, **kwargs)}
        is_root = self.kind in ROOTS and self.state != "nested"
        if is_root or self.state == "unbound":
            cls = PERSISTED[self.kind] if is_root else KINDS[self.kind].nested
            made = blank(cls)
            self.bring(made, content["in"])
            return made
        program = self._program()
        outer = program.root("state", "dict", content)
        content.clear()
        program.flush()
        self._advance(program, outer["in"])
        if self.state == "atomic":
            self._blocks.enter_context(program.tracker.atomic())
        return outer["in"]

    def bring(self, container: Any, content: Any) -> None:
        """Fill an empty container, and bring it into the state that is tested."""
        if self.state == "unbound":
            KINDS[self.kind].fill(container, content)
            return
        program = self._shared or self._program()
        program.tracker.attach(container, next(self._names), self.kind)
        KINDS[self.kind].fill(container, content)
        if self.state != "atomic":
            program.flush()
            self._advance(program, container)

    def _advance(self, program: Program, container: Any) -> None:
        if self.state in ("disarmed", "capture"):
            with program.tracker.lock:
                barrier.changed(container)
        if self.state == "capture":
            capture = program.tracker.cut()
            assert capture is not None
            self._captures[program] = capture

    def _check_saved(self, program: Program) -> None:
        if (cut := self._captures.get(program)) is not None:
            if changes := cut.encode():
                program.journal.commit(changes)
            cut.saved()
        nodes = program.tracker.roots
        live = {name: node.obj for name, node in nodes.items()}
        if not all(_can_be_saved(root, program.tracker) for root in live.values()):
            return
        program.flush(full_compare=True)
        assert not program.errors
        following = program.restart()
        found = [following.root(name, node.kind.name) for name, node in nodes.items()]
        assert shape(*live.values()) == shape(*found), "what was saved is something else"


@contextmanager
def _forgotten_classes() -> Iterator[None]:
    """Forget the classes that a test makes: with thousands of them `gc.collect` takes its time."""
    known = set(barrier.VARIANTS)
    yield
    for cls in set(barrier.VARIANTS) - known:
        forms = barrier.VARIANTS.pop(cls)
        barrier.VARIANT_SETS[forms.kind.name].discard(cls)
        registry.ENCODERS.pop(cls, None)
        registry.BUILTIN.discard(cls)


def _can_be_saved(value: Any, of: Any, depth: int = 20) -> bool:
    """Whether a value is of known types throughout; the tests use all sorts of objects."""
    if isinstance(value, Barrier):
        if value._node_ is None or value._node_.tracker is not of:
            return False
    elif type(value) not in (*BUILTIN.values(), tuple, frozenset):
        return type(value) in ATOMS and value == value  # noqa: PLR0124 - nan is not
    if getattr(value, "default_factory", None) not in (None, list, int, dict):
        return False
    parts = value
    if isinstance(value, dict):
        try:
            parts = list(itertools.chain.from_iterable(value.items()))
        except KeyError:  # an OrderedDict that `dict.pop` has broken
            return False
    return depth > 0 and all(_can_be_saved(part, of, depth - 1) for part in parts)


class _Standing(type):
    """The metaclass of factories: they pass for the builtin, but for calls."""

    world: World
    factory: type

    def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:
        if cls is cls.factory:
            return cls.world.make(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls is cls.factory:
            return isinstance(instance, BUILTIN[cls.world.kind])
        return super().__instancecheck__(instance)

    def __eq__(cls, other: object) -> bool:
        if cls is cls.factory and isinstance(other, type):
            return other is cls or other.__name__ in _NAMES[cls.world.kind]
        return cls is other

    def __hash__(cls) -> int:
        return type.__hash__(cls)


_NAMES: Final = {kind: (BUILTIN[kind].__name__, PERSISTED[kind].__name__) for kind in BUILTIN}


def factory(world: World) -> Any:
    """Make the factory that stands for the builtin of the world's kind."""
    builtin, persisted = BUILTIN[world.kind], PERSISTED[world.kind]

    def new(cls: Any, /, *args: Any, **kwargs: Any) -> Any:
        return blank(cls)

    def init(self: Any, /, *args: Any, **kwargs: Any) -> None:
        content = builtin(*args, **kwargs)
        if self._node_ is None and not builtin.__len__(self):
            world.bring(self, content)
        elif issubclass(builtin, dict):
            self.update(content)
        else:
            self.clear()
            getattr(self, "update" if issubclass(builtin, set) else "extend")(content)

    namespace = {
        "__slots__": (),
        "__doc__": builtin.__doc__,
        "__new__": new,
        "__init__": init,
        "world": world,
    }
    made = _Standing(builtin.__name__, (persisted,), namespace)
    made.factory = made
    return made
