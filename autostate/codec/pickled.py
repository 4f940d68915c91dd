"""Values that only a pickle can hold, where the user says so: `pickled(value)`.

A pickle is code: loading a pickle executes it. It is signed when it is saved, and loaded only if
its signature holds. It is stored as `{"$pickled": [base64, signature]}`, where base64 holds the
Python version, a newline and the pickle; nothing outside of this tag is ever unpickled.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import io
import pickle
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from autostate.codec.bound import is_container, root_of
from autostate.codec.live import is_live
from autostate.codec.signatures import Json, Stored
from autostate.codec.transparent import Transparent, shaped
from autostate.codec.unsupported import Unsupported
from autostate.errors import AutostateError, CorruptStateError, UnsupportedTypeError
from autostate.process.interrupts import is_passing
from autostate.warned import shows_warnings

T = TypeVar("T")
PYTHON: Final = str(sys.implementation.cache_tag)
"""The version of Python that can run the bytecode in a pickle, which differs between versions."""
_ATTEMPTS: Final = 5
Reference = Callable[[Any], str | None]


class Pickled(Transparent):
    """A transparent wrapper, which marks that the value is saved as a pickle."""

    def _self_assigned(self, result: Any) -> Any:
        return self if result is self.__wrapped__ else wrap(result)

    def __copy__(self) -> Any:
        return wrap(copy.copy(self.__wrapped__))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return wrap(copy.deepcopy(self.__wrapped__, memo))

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return wrap, (self.__wrapped__,)

    def __reduce__(self) -> Any:
        return self.__reduce_ex__(2)


def wrap(value: Any) -> Any:
    """Wrap a value, without a check whether it can be pickled."""
    return shaped(Pickled, value, encode)(value)


def pickled(value: T) -> T:
    """Let a value be saved as a pickle: a function, a closure, an object of any class.

    Pickles are made by `cloudpickle`: lambdas, closures, classes defined in functions or in the
    main program are saved with their code. Functions and classes of modules are saved by name, and
    imported when they are loaded.

    The value is saved with everything inside it: an object that it shares with the rest of the
    state is another object after a restart. State objects (those with a name) are saved by name.

    Args:
        value: The value. It is compared at every save, so changes inside it are saved as well.

    Returns:
        A transparent wrapper around it, to be put into the state.

    Raises:
        UnsupportedTypeError: The value cannot be pickled; the cause says why.

    Example:
        >>> import autostate
        >>> jobs = autostate.PersistedDict("jobs")
        >>> factor = 3
        >>> jobs["times"] = autostate.pickled(lambda n: n * factor)
        >>> jobs["times"](5)
        15
    """
    if isinstance(value, Pickled):
        return value
    try:
        _dump(value, name_of)
    except Unsupported as problem:
        path = f"pickled({type(value).__qualname__})"
        raise UnsupportedTypeError(path, problem.problem) from problem.__cause__
    made: T = wrap(value)
    return made


def encode(value: Any, ref: Any) -> Json:
    """Translate a pickled value; `ref` signs it, and gives references to state objects."""
    sign = getattr(ref, "sign", None)
    if sign is None:
        usual = "a pickled value cannot be a key, a member of a set, or part of one"
        raise Unsupported(getattr(ref, "no_pickles", usual))
    known: Json = ref(value)
    if known is not None:
        return known  # it is at several places
    data = _dump(value.__wrapped__, ref.name_of)
    return {"$pickled": [base64.b64encode(data).decode(), sign(data)]}


def name_of(container: Any) -> str | None:
    """Give the name of a state object; None for a container that belongs to no store.

    Raises:
        Unsupported: It is a nested container, which would become another one.
    """
    node = container._node_
    if node is None:
        return None
    if node.obj is not container or node.name is None:
        raise Unsupported(
            "a pickled value refers to a container inside a state object, and would hold a copy of "
            "it after a restart: let it refer to the state object instead, or to a copy"
        )
    return str(node.name)


@shows_warnings
def _dump(value: Any, reference: Reference) -> bytes:
    """Pickle a value; raise any error as one of a value that cannot be saved."""
    if is_container(value):
        raise Unsupported("this value is a container that saves itself")
    try:
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(RuntimeError):  # another thread has put something in meanwhile
                return _pickle(value, reference)
        return _pickle(value, reference)  # its error is the value's own, or that of a busy thread
    except Unsupported:
        raise
    except Exception as error:
        if is_passing(error) and not isinstance(error, RecursionError):
            raise
        raise Unsupported(_why_not(value, error)) from error


def _why_not(value: Any, error: Exception) -> str:
    """Say why a value cannot be pickled, and what to do."""
    # Messages of other errors may show the user's values.
    of_types = isinstance(error, TypeError) or str(error).startswith("Cannot pickle files")
    reason = f": {error}" if of_types else ""
    what_to_do = "keep it outside of the state"
    if not is_live(type(value)):
        what_to_do += (
            ", or register its class with autostate.register(cls, tag, encode=…, decode=…), where "
            "encode= leaves out what cannot be pickled"
        )
    return f"the value cannot be pickled ({type(error).__name__}{reason}): {what_to_do}"


def _pickle(value: Any, reference: Reference) -> bytes:
    buffer = io.BytesIO()
    buffer.write(f"{PYTHON}\n".encode())
    _pickler()(buffer, reference).dump(value)
    return buffer.getvalue()


@functools.cache
def _pickler() -> Any:
    import cloudpickle  # here: its import takes longer than that of autostate

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Pickles state objects by name."""

        def __init__(self, file: io.BytesIO, reference: Reference) -> None:
            super().__init__(file)
            self._reference = reference

        def reducer_override(self, obj: Any) -> Any:
            """Refer to a state object; leave anything else to cloudpickle."""
            cls = type(obj)
            root = obj._self_state() if issubclass(cls, Transparent) else root_of(obj)
            root = obj if root is None else root
            if is_container(root):
                name = self._reference(root)
                if name is not None:
                    return state_object, (name,)
            if isinstance(obj, memoryview | io.IOBase) and cls not in _IN_MEMORY:
                raise TypeError(f"cannot pickle a {cls.__qualname__}")  # cloudpickle gives a copy
            return super().reducer_override(obj)

    return Pickler


_IN_MEMORY: Final = (io.BytesIO, io.StringIO)

_finder: ContextVar[Callable[[str], Any] | None] = ContextVar("finder", default=None)


def state_object(name: str) -> Any:
    """Find the state object to which a pickled value refers, while the value is loaded."""
    find = _finder.get()
    if find is None:
        raise pickle.UnpicklingError(
            "the pickle refers to a state object, and is loaded without the state"
        )
    return find(name)


def load(
    json: Stored, path: str, verify: Callable[[bytes, str], None], find: Callable[[str], Any]
) -> Any:
    """Load a value that `encode` has written, if its signature holds.

    Args:
        json: The content of the tag.
        path: Where the value is, for messages.
        verify: Raises if the signature does not hold. Nothing is unpickled before it returns.
        find: Gives the state object of a name.

    Raises:
        CorruptStateError: It cannot be unpickled by this program; the message says why.
    """
    data, signature = _parts(json)
    verify(data, signature)
    python, _, data = data.partition(b"\n")
    token = _finder.set(find)
    try:
        if python != PYTHON.encode() and _has_code(data):
            raise CorruptStateError(
                f"{path} holds code that was pickled by {python.decode(errors='replace')}, and "
                f"this is {PYTHON}: only the same version of Python can execute it"
            )
        return wrap(pickle.loads(data))  # noqa: S301 - signed by this user
    except AutostateError:
        raise
    except Exception as error:
        if is_passing(error):
            raise
        # Messages of other errors may show the user's values.
        named = isinstance(error, ImportError | AttributeError)
        reason = f"{type(error).__name__}: {error}" if named else type(error).__name__
        raise CorruptStateError(f"{path} cannot be unpickled ({reason})") from error
    finally:
        _finder.reset(token)


def _has_code(data: bytes) -> bool:
    """Tell whether a pickle contains functions or classes, not only their names."""
    import pickletools

    return any(arg == "cloudpickle.cloudpickle" for _, arg, _ in pickletools.genops(data))


def _parts(json: Stored) -> tuple[bytes, str]:
    """Give data and signature; JSON of another form gets a signature that cannot hold."""
    match json:
        case [str(text), str(signature)]:
            try:
                return base64.b64decode(text, validate=True), signature
            except ValueError:
                pass
    return b"", ""
