"""`@autostate.actor`: what is filled in, what is left alone, and what is refused."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import pytest
import typing_extensions

import autostate
from autostate import PersistedCounter, PersistedDeque, PersistedDict, PersistedList, PersistedSet

pytestmark = pytest.mark.usefixtures("forked_actors", "forked_programs")


T = TypeVar("T")


class Seen(PersistedSet[str]):
    """A container class of the user's."""


class Box(PersistedDict[str, T], Generic[T]):
    """A generic one."""


class Named(PersistedList[int]):
    """One that chooses its name by itself."""

    def __init__(self) -> None:
        """Take no argument."""
        super().__init__("chosen")


class Sharded(PersistedDict[str, int]):
    """One that cannot be made without more arguments."""

    def __init__(self, name: str, shard: int) -> None:
        """Take two arguments."""
        super().__init__(f"{name}-{shard}")


@autostate.persisted
class Progress:
    """A class of the user's."""

    def __init__(self, page: int = 1) -> None:
        """Begin."""
        self.page = page


@autostate.persisted
@dataclasses.dataclass
class Totals:
    """Another."""

    pages: int = 0
    names: set[str] = dataclasses.field(default_factory=set)


@autostate.persisted(name="shop-{shop_id}")
class Shop:
    """One that cannot be made without arguments."""

    def __init__(self, shop_id: int) -> None:
        """Begin."""
        self.shop_id = shop_id


Alias = typing_extensions.TypeAliasType("Alias", PersistedDict[str, int])
GenericAlias = typing_extensions.TypeAliasType("GenericAlias", Box[T], type_params=(T,))

FILLED_IN = [
    PersistedCounter,
    PersistedDeque[int],
    PersistedDict,
    PersistedDict[str, int],
    PersistedList[int],
    PersistedSet,
    Seen,
    Box,
    Box[int],
    Named,
    Alias,
    GenericAlias[int],
    Progress,
    Totals,
    "Totals",
    Annotated[PersistedDict[str, int], "what it is for"],
    Annotated[Alias, "what it is for"],
    "PersistedDict",
    "PersistedDict[str, int]",
    "Annotated[Box['Seen'], 1]",
    "autostate.PersistedDict[str, NotImplemented]",
]
LEFT_ALONE = [
    inspect.Parameter.empty,
    Any,
    dict,
    dict[str, int],
    list[PersistedDict[str, int]],
    type[Seen],
    Callable[[Seen], None],
    int | None,
    T,
    "list[Seen]",
    "None",
    "dict | None",
]


def taking(annotation: Any, **parameter: Any) -> Any:
    """Make an async function of one parameter, "state"."""

    async def function(state: Any) -> None: ...

    kind = parameter.pop("kind", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    made = inspect.Parameter("state", kind, annotation=annotation, **parameter)
    vars(function)["__signature__"] = inspect.Signature([made])
    return function


def taking_two(cls: Any) -> Any:
    """Make an async function of two parameters of the same class."""

    async def function(state: Any, other: Any) -> None: ...

    function.__annotations__ = {"state": cls, "other": cls}
    return function


# -- what is filled in -----------------------------------------------------------------------------


@pytest.mark.parametrize("annotation", FILLED_IN, ids=str)
def test_state_parameters_are_known_by_their_annotation(annotation: Any) -> None:
    """However a persisted class is written, the parameter is none of the caller's."""
    assert not inspect.signature(autostate.actor(taking(annotation))).parameters


@pytest.mark.parametrize("annotation", LEFT_ALONE, ids=str)
def test_other_parameters_stay_those_of_the_caller(annotation: Any) -> None:
    """What is no persisted class is not filled in."""
    assert list(inspect.signature(autostate.actor(taking(annotation))).parameters) == ["state"]


def test_containers_of_one_class_are_told_apart_by_their_parameters() -> None:
    """They have different names; only one object without a name of its own can be made twice."""
    assert not inspect.signature(autostate.actor(taking_two(Seen))).parameters


def test_the_result_is_an_async_function_of_the_other_parameters() -> None:
    """Frameworks that look at it see what is to be passed, its name and its documentation."""

    @autostate.actor
    async def main(a: int, /, state: PersistedDict, b: str = "", *rest: int, seen: Seen) -> int:
        """Does the work."""
        return a

    assert inspect.iscoroutinefunction(main)
    assert list(inspect.signature(main).parameters) == ["a", "b", "rest"]
    assert (main.__name__, main.__doc__) == ("main", "Does the work.")


async def test_the_function_itself_runs_without_an_actor() -> None:
    """`__wrapped__` is for tests: it takes everything, and opens nothing."""

    @autostate.actor
    async def main(progress: PersistedDict[str, int], add: int) -> int:
        progress["n"] = progress.get("n", 0) + add
        return progress["n"]

    with autostate.open("memory:"):
        assert await main.__wrapped__(PersistedDict("progress", n=1), add=2) == 3


async def yields(progress: PersistedDict) -> Any:
    """An async generator."""
    yield progress


REFUSED: dict[str, tuple[Any, str]] = {
    "no function": ("main", "for an async function, not for this str"),
    "a class": (Seen, "not for this type"),
    "a sync function": (lambda: None, "make it an `async def"),
    "a generator": (yields, "yields nothing"),
    "an unknown name": (taking("Nowhere"), "'Nowhere' is not defined.*define or import"),
    "an unknown argument": (taking("PersistedDict[str, Nowhere]"), "parameter 'state'.*Nowhere"),
    "no annotation": (taking("1 +"), "cannot be resolved"),
    "or None": (taking(PersistedDict[str, int] | None), "annotate it with PersistedDict alone"),
    "or another": (taking("dict | Annotated[Seen, 1]"), "annotate it with Seen alone"),
    "a class or None": (taking(Totals | None), "annotate it with Totals alone"),
    "an argument": (taking(Shop), r"Shop\(shop_id: 'int'\) needs arguments"),
    "twice": (taking_two(Progress), "parameter 'other'.*same object.*in the body"),
    "twice a list": (taking_two(Named), "one Named"),
    "a default": (taking(Seen, default=None), "has a default, which would never be used"),
    "many": (taking(Seen, kind=inspect.Parameter.VAR_POSITIONAL), r"without \*$"),
    "many by name": (taking(Seen, kind=inspect.Parameter.VAR_KEYWORD), r"without \*\*$"),
    "arguments": (taking(Sharded), r"Sharded\(name: 'str', shard: 'int'\) needs arguments"),
}


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_an_entry_point_is_refused_at_once(case: str) -> None:
    """The mistake is found when the module is imported, and the message says what to do."""
    function, message = REFUSED[case]
    with pytest.raises(TypeError, match=message):
        autostate.actor(function)
    with pytest.raises(TypeError, match=message):
        autostate.actor(debounce=1)(function)


def test_settings_are_checked_at_once() -> None:
    """A misspelt or senseless setting is found when the module is imported."""
    with pytest.raises(TypeError, match="did you mean reboot_on_migrating"):
        autostate.actor(reboot_on_migratin=True)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="debounce must be"):
        autostate.actor(debounce=-1)


@pytest.fixture
def no_apify(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process that has not imported the SDK yet."""
    for name in [*sys.modules]:
        if name.partition(".")[0] == "apify":
            monkeypatch.delitem(sys.modules, name)
    return monkeypatch


async def test_a_missing_sdk_is_an_error_that_names_the_extra(
    no_apify: pytest.MonkeyPatch,
) -> None:
    """It comes when it is called: what was decorated can be tested without the SDK."""
    no_apify.setitem(sys.modules, "apify", None)
    main = autostate.actor(taking(Seen))
    with pytest.raises(ModuleNotFoundError, match=r"function\(\) .* pip install 'autostate\[apif"):
        await main()


async def test_an_sdk_that_lacks_something_else_says_so(
    no_apify: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only the SDK itself can be installed as an extra."""
    (tmp_path / "apify.py").write_text("import pydantic_that_is_missing")
    no_apify.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="pydantic_that_is_missing"):
        await autostate.actor(taking(Seen))()
