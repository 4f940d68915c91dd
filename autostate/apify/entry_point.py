"""`@autostate.actor`: an async function becomes the entry point of an Actor.

The types of the parameters say which state the function uses: a parameter that is annotated with a
persisted class gets the rehydrated object, all other parameters are the caller's. An annotation
that is not clear is an error when the module is imported, on the developer's machine, and not when
a run begins.

If the decorator has opened the Actor, it saves nothing itself: leaving an Actor saves, with or
without the decorator (apify/events.py), and one save at the end is enough.

The type of the result accepts any arguments: type checkers cannot remove single parameters of a
function, and a type that pretends that `main()` lacks some would be worse than no check. They check
a call of the decorated function, `main.__wrapped__(…)`, and the result of `main()`.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Final, ParamSpec, Protocol, TypeVar, Unpack, overload

from autostate.apify import events
from autostate.codec import is_persisted
from autostate.containers.root import StateObject
from autostate.errors import StoreError
from autostate.runtime import api
from autostate.runtime.manager import current
from autostate.settings import Settings, SettingsByName

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

_MANY: Final[Mapping[Any, str]] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


class EntryPoint(Protocol[P, R_co]):
    """The result of `@autostate.actor`: an async function without its state parameters."""

    @property
    def __name__(self) -> str:
        """The name of the function."""
        ...

    @property
    def __wrapped__(self) -> Callable[P, Coroutine[Any, Any, R_co]]:
        """The undecorated function, for tests: it opens no Actor, and needs all arguments."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, R_co]:
        """Run the Actor."""
        ...


@overload
def actor(
    function: Callable[P, Coroutine[Any, Any, R_co]], /, **settings: Unpack[SettingsByName]
) -> EntryPoint[P, R_co]: ...
@overload
def actor(
    **settings: Unpack[SettingsByName],
) -> Callable[[Callable[P, Coroutine[Any, Any, R_co]]], EntryPoint[P, R_co]]: ...
def actor(function: Any = None, /, **settings: Unpack[SettingsByName]) -> Any:
    """Make an async function the entry point of an Actor.

    `asyncio.run(main())` then opens the Actor, gives each parameter that is annotated with a
    persisted class its rehydrated object, runs the function, and saves at the end, however the
    function ends. A container has the name of its parameter; a `@persisted` class is called
    without arguments. All other parameters are the caller's, and so is a state parameter that the
    caller passes by name.

    If an Actor is open already, it is used, and stays open.

    Args:
        function: An async function.
        settings: Attributes of `Settings`, in force from the call on. With
            `reboot_on_migrating=True` the Actor saves at a migration, then reboots at once.

    Returns:
        An async function without the parameters that are filled in. As with `async with Actor`,
        the process ends with the function, with Apify's exit codes. `main.__wrapped__` is the
        undecorated function.

    Raises:
        TypeError: `function` is no async function, there is no setting of that name, or a
            parameter cannot be filled in: its annotation cannot be resolved, it has a default, or
            its class needs arguments. Calling the result: an argument is missing or unexpected.
        ValueError: A setting's value makes no sense.
        ModuleNotFoundError: Calling the result: the Apify SDK is not installed.

    Example:
        >>> import autostate
        >>> from autostate import PersistedDict, PersistedSet
        >>> @autostate.actor(reboot_on_migrating=True)
        ... async def main(progress: PersistedDict[str, int], seen: PersistedSet[str]) -> None:
        ...     progress.setdefault("page", 1)
        >>> inspect.signature(main)
        <Signature () -> 'None'>
    """
    Settings.for_store("apify:", **settings)  # a wrong setting raises now, not when a run begins
    if function is None:
        return functools.partial(_entry_point, settings=settings)
    return _entry_point(function, settings)


def _entry_point(
    function: types.FunctionType, settings: SettingsByName
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wrap an async function."""
    _check_function(function)
    if settings.get("in_step"):
        events.expect_in_step()  # the program may enter the Actor by itself before the call
    name = function.__name__
    signature = _signature(function)
    makers = _makers(function, signature)
    others = [each for each in signature.parameters.values() if each.name not in makers]
    callers = signature.replace(parameters=others)

    @functools.wraps(function)
    async def entry_point(*args: Any, **kwargs: Any) -> Any:
        passed = {each: kwargs.pop(each) for each in makers if each in kwargs}
        arguments = {**_bound(name, callers, args, kwargs), **passed}

        async def run() -> Any:
            try:
                made = {each: make() for each, make in makers.items() if each not in passed}
            except StoreError as error:  # the SDK logs it: its message says what to do
                raise error.with_traceback(None) from None
            call = inspect.BoundArguments(signature, {**arguments, **made})
            return await function(*call.args, **call.kwargs)

        apify_actor = _apify_actor(name)
        if settings:
            (current.get() or api).configure(**settings)
        if not events.is_open(apify_actor):
            async with apify_actor:
                return await run()
        try:
            return await run()
        finally:
            await events.save(f"at the end of {name}()", ending=True)

    vars(entry_point)["__signature__"] = callers
    return entry_point


def _apify_actor(name: str) -> Any:
    """Give the SDK's Actor."""
    try:
        from apify import Actor
    except ModuleNotFoundError as error:
        if error.name != "apify":
            raise
        raise ModuleNotFoundError(
            f"{name}() is an Actor's entry point and needs the Apify SDK, which is not installed: "
            "pip install 'autostate[apify]'",
            name="apify",
        ) from None
    return Actor


def _bound(
    name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the caller's arguments, by the names of the parameters."""
    try:
        return signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise TypeError(
            f"{name}(): {error}. Only parameters that are annotated with a persisted class are "
            "filled in; to replace one of those pass it by its name."
        ) from None


# -- when the function is decorated ----------------------------------------------------------------


def _check_function(function: object) -> None:
    """Refuse an object that is no async function."""
    if not inspect.isfunction(function):
        raise TypeError(
            f"@autostate.actor is for an async function, not for this {type(function).__name__}; "
            "settings are given by name: @autostate.actor(reboot_on_migrating=True)"
        )
    if not inspect.iscoroutinefunction(function):
        raise TypeError(
            f"{function.__name__}() cannot be an Actor's entry point: make it an "
            f"`async def {function.__name__}(…)` that yields nothing"
        )


def _signature(function: types.FunctionType) -> inspect.Signature:
    """Give the signature; from Python 3.14 on this call resolves the annotations."""
    try:
        return inspect.signature(function)
    except NameError as error:
        raise _unresolved(f"an annotation of {function.__name__}()", error) from None


def _unresolved(what: str, error: Exception) -> TypeError:
    return TypeError(
        f"{what} cannot be resolved ({error}): define or import what it names at module level, "
        "before the function, and not only under TYPE_CHECKING"
    )


def _makers(
    function: types.FunctionType, signature: inspect.Signature
) -> dict[str, Callable[[], Any]]:
    """Give, for each parameter that is filled in, a function that makes its object."""
    makers: dict[str, Callable[[], Any]] = {}
    for parameter in signature.parameters.values():
        what = f"the parameter {parameter.name!r} of {function.__name__}()"
        cls = _state_class(_resolved(function, parameter, what), what)
        if cls is None:
            continue
        _check_parameter(parameter, cls, what)
        make = _maker(parameter.name, cls, what)
        if make in makers.values():
            raise TypeError(
                f"{what} would be the same object as another one: there is one {cls.__name__} "
                "that is made without arguments. Create the others in the body of the function"
            )
        makers[parameter.name] = make
    return makers


def _resolved(function: types.FunctionType, parameter: inspect.Parameter, what: str) -> Any:
    """Give a parameter's annotation, evaluated if it is a string."""
    name, annotation = parameter.name, parameter.annotation
    if annotation is parameter.empty:
        return None
    holder: Any = types.SimpleNamespace(__annotations__={name: annotation})
    names = inspect.unwrap(function).__globals__
    try:
        return typing.get_type_hints(holder, names, include_extras=True)[name]
    except Exception as error:
        raise _unresolved(f"the annotation of {what}", error) from None


def _state_class(annotation: Any, what: str) -> type | None:
    """Give the persisted class that an annotation names; None for any other annotation."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _state_class(annotation.__origin__, what)
    if "TypeAliasType" in (type(annotation).__name__, type(origin).__name__):  # `type X = …`
        return _state_class(annotation.__value__, what)
    if origin in (typing.Union, types.UnionType):
        for each in typing.get_args(annotation):
            if cls := _state_class(each, what):
                raise TypeError(
                    f"{what} may be a {cls.__name__} or something else: annotate it with "
                    f"{cls.__name__} alone, since it is always given one"
                )
        return None
    cls = origin or annotation
    is_state = isinstance(cls, type) and (issubclass(cls, StateObject) or is_persisted(cls))
    return cls if is_state else None


def _check_parameter(parameter: inspect.Parameter, cls: type, what: str) -> None:
    """Refuse a parameter that does not stand for one object, or that has a default."""
    if stars := _MANY.get(parameter.kind):
        raise TypeError(
            f"{what} stands for any number of {cls.__name__}: give each a parameter of its own, "
            f"without {stars}"
        )
    if parameter.default is not parameter.empty:
        raise TypeError(
            f"{what} has a default, which would never be used: the {cls.__name__} is always "
            "there. Leave the default out, and set what is missing at the start of the function"
        )


def _maker(name: str, cls: type, what: str) -> Callable[[], Any]:
    """Give a function that makes the object: a container by name, unless its class names it."""
    signature = _constructor(cls)
    if issubclass(cls, StateObject) and _takes(signature, name):
        return functools.partial(cls, name)
    if _takes(signature):
        return cls
    raise TypeError(
        f"{what} cannot be filled in: {cls.__name__}{signature} needs arguments. Give them "
        f"defaults, or create the {cls.__name__} in the body of the function"
    )


def _constructor(cls: type) -> inspect.Signature | None:
    """Give the signature of a class's constructor; None if Python does not know it."""
    try:
        return inspect.signature(cls)
    except (TypeError, ValueError, NameError):
        return None


def _takes(signature: inspect.Signature | None, *args: Any) -> bool:
    try:
        if signature is not None:
            signature.bind(*args)
    except TypeError:
        return False
    return True
