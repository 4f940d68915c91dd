"""Why a value cannot be saved, and advice what to save in place of it.

Well-known classes are known by their names and those of their bases: nothing is imported to give
advice.
"""

from __future__ import annotations

from typing import Final

from autostate.codec.live import is_live
from autostate.codec.options import is_persisted
from autostate.codec.registry import BUILTIN, ENCODERS
from autostate.codec.unsupported import shown

_URL: Final = (
    'save its text, str(url), or register its class: autostate.register({cls}, "url", encode=str, '
    "decode={cls}, mutable=False)"
)
_HIDDEN: Final = (
    "read the secret from the environment in each process; if it has to be stored, readable for "
    "whoever reads the store, save autostate.Secret(value.get_secret_value())"
)
_FRAME: Final = "save its rows, {rows}; or the path of a file to which the program has written it"
_PANDAS: Final = _FRAME.format(rows='frame.to_dict("records")')
_POLARS: Final = _FRAME.format(rows="frame.to_dicts()")
_CLIENT: Final = (
    "make the client anew in each process, and save what it has to remember, such as "
    "dict(client.cookies)"
)
_CODE: Final = "save a name that the program looks up in a dict of functions"
_VIEW: Final = "save a list or dict of its content: list(value)"
_MARKUP: Final = "save its text, str(value)"

ADVICE: Final[dict[str, str]] = {
    "pydantic.networks._BaseUrl": _URL,
    "pydantic.networks._BaseMultiHostUrl": _URL,
    "pydantic_core._pydantic_core.Url": _URL,
    "pydantic_core._pydantic_core.MultiHostUrl": _URL,
    "yarl._url.URL": _URL,
    "yarl.URL": _URL,
    "httpx._urls.URL": _URL,
    "furl.furl.furl": _URL,
    "pydantic.types._SecretBase": _HIDDEN,
    "pydantic.types._SecretField": _HIDDEN,
    "pandas.core.frame.DataFrame": _PANDAS,
    "pandas.DataFrame": _PANDAS,
    "polars.dataframe.frame.DataFrame": _POLARS,
    "polars.lazyframe.frame.LazyFrame": "save frame.collect().to_dicts(), or how it is made",
    "pyarrow.lib.Table": _FRAME.format(rows="table.to_pylist()"),
    "pandas.core.series.Series": "save its values, series.to_list() or series.to_dict()",
    "pandas.Series": "save its values, series.to_list() or series.to_dict()",
    "polars.series.series.Series": "save its values, series.to_list()",
    "pandas.core.indexes.base.Index": "save its values, index.to_list()",
    "pandas._libs.tslibs.timestamps._Timestamp": "save value.to_pydatetime()",
    "pandas._libs.tslibs.timedeltas._Timedelta": "save value.to_pytimedelta()",
    "torch.Tensor": "save tensor.numpy(), or the path of a file",
    "httpx._client.BaseClient": _CLIENT,
    "requests.sessions.Session": _CLIENT,
    "aiohttp.client.ClientSession": "make the session anew in each process",
    "curl_cffi.requests.session.BaseSession": _CLIENT,
    "httpx._models.Response": "save what is needed of it, such as response.text",
    "requests.models.Response": "save what is needed of it, such as response.text",
    "http.cookiejar.CookieJar": "save its cookies as a list of dicts: [vars(c) for c in jar]",
    "bs4.element.PageElement": _MARKUP,
    "parsel.selector.Selector": "save its text, selector.get()",
    "lxml.etree._Element": "save its text, lxml.etree.tostring(value)",
    "xml.etree.ElementTree.Element": "save its text, ElementTree.tostring(value)",
    "builtins.function": _CODE,
    "builtins.builtin_function_or_method": _CODE,
    "builtins.method": _CODE,
    "functools.partial": "save the arguments, and a name that the program looks up",
    "builtins.type": "save a name that the program looks up in a dict of classes",
    "builtins.module": "save its name, value.__name__, and import it where it is needed",
    "_io.StringIO": "save its text, value.getvalue()",
    "_io.BytesIO": "save its bytes, value.getvalue()",
    "_io._IOBase": "save its path and position, file.name and file.tell(), and open it again",
    "re.Match": "save what is needed of it, such as match.group() or match.groupdict()",
    "logging.Logger": "save its name, logger.name",
    "builtins.memoryview": "save bytes(value)",
    "array.array": "save a list of it, value.tolist()",
    "builtins.mappingproxy": "save a copy of it, dict(value)",
    "collections.ChainMap": "save a copy of it, dict(value)",
    "autostate.shared.container.SharedContainer": "it is stored by itself, and each process makes "
    "its own, by its name: save that; or a copy, value.copy()",
    "collections.UserDict": "save value.data",
    "collections.UserList": "save value.data",
    "builtins.dict_keys": _VIEW,
    "builtins.dict_values": _VIEW,
    "builtins.dict_items": _VIEW,
}
"""The advice by "module.qualname" of a class or one of its bases."""

_ITERATOR: Final = (
    "its position belongs to this process: save the items, list(value), or go over them with "
    "autostate.resume"
)

PICKLE_IT: Final = "; or store autostate.pickled(value)"
KEEP_OUT: Final = "keep it outside of the state"
"""Parts of the advice that hold only for values of a state: `without_state` replaces them."""


def without_state(problem: str, keeper: str) -> str:
    """Give the advice for what keeps values outside of a state, and no pickles."""
    return problem.replace(PICKLE_IT, "").replace(KEEP_OUT, f"keep it outside of {keeper}")


def why_not(cls: type, *, key: bool = False) -> str:
    """Say why values of a class that is not known cannot be saved, or be a key, and what to do."""
    live, problem = is_live(cls), f"a value of type {shown(cls)} cannot be saved"
    advice = _advice_for(cls)
    if advice is not None:
        pickled = "" if key or live else PICKLE_IT
        return f"{problem}: {advice}{pickled}; or {KEEP_OUT}"
    if live:
        return (
            f"{problem}, not even as a pickle, because it belongs to this process: {KEEP_OUT}, or "
            "register the class of the object that holds it, with an encode= that leaves it out "
            "and a decode= that makes a new one"
        )
    if not key and is_persisted(cls):
        return (
            f"a copy of a {shown(cls)}, or one that was made without calling the class, is a plain "
            "object and cannot be saved: put in the state object itself, or a dict of the fields, "
            "dict(vars(value)); or make the class a dataclass under @autostate.persisted"
            f"{PICKLE_IT}"
        )
    base = next((base for base in cls.__mro__[1:] if base in ENCODERS or base in BUILTIN), None)
    if base is not None and not issubclass(cls, type):
        return (
            f"a value of type {shown(cls)}, which may hold more than the {base.__qualname__} that "
            "it is based on, cannot be saved as it is: convert it, or register its class with "
            "autostate.register(cls, tag, encode=…, decode=…)"
        )
    if key:
        return (
            f"a value of type {shown(cls)} cannot be a key, or a member of a set: make its class a "
            "frozen dataclass, or register it with "
            f"autostate.register(cls, tag, encode=…, decode=…); or {KEEP_OUT}"
        )
    return (
        f"{problem}: make its class a dataclass, or register it with "
        f"autostate.register(cls, tag, encode=…, decode=…){PICKLE_IT}; or {KEEP_OUT}"
    )


def _advice_for(cls: type) -> str | None:
    """Give the advice for the nearest base that is well known."""
    for base in cls.__mro__:
        if shown(base) in ADVICE:
            return ADVICE[shown(base)].format(cls=cls.__name__)
    if hasattr(cls, "__next__") and cls.__module__ in ("builtins", "itertools", "_csv"):
        return _ITERATOR
    return None
