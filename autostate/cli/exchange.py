"""State objects in the files of other libraries: Actor.use_state, shelve, sqlitedict, pickle."""

from __future__ import annotations

import contextlib
import json
import pickle
import shelve
import sqlite3
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from autostate.apify.export import _Export
from autostate.cli.document import parse_json
from autostate.cli.errors import CommandError, UsageError
from autostate.cli.paths import extended
from autostate.cli.values import Fields, Opaque, Values
from autostate.codec import jsonable
from autostate.codec.secret import Secret
from autostate.codec.unknown import Unknown
from autostate.codec.unsupported import Unsupported
from autostate.errors import AutostateError
from autostate.journal import NodeState
from autostate.stores.apify_record import check_key, read_record

_TIMEOUT: Final = 60.0
_HIDDEN: Final = "it is a secret: --reveal writes what it holds"


def record(value: Any, name: str, *, reveal: bool) -> bytes:
    """Give a state object as the record that `Actor.use_state` keeps.

    Args:
        value: Its content.
        name: Its name.
        reveal: Write what secrets hold.

    Raises:
        CommandError: It is no dict, or JavaScript would not read a value of it as the same one.
    """
    try:
        made = _Record(reveal=reveal).plain(value)
    except Unsupported as problem:
        raise CommandError(f"{name}{problem.path}: {problem.problem}") from None
    if not isinstance(made, dict):
        raise CommandError(f"{name} is no dict, and Actor.use_state keeps nothing else")
    return json.dumps(made, ensure_ascii=False, indent=2).encode() + b"\n"


class _Record(_Export):
    """An export of a value that was rebuilt without the classes of its program.

    Args:
        reveal: Write what secrets hold.
    """

    def __init__(self, *, reveal: bool) -> None:
        super().__init__(None)
        self._reveal = reveal

    def plain(self, value: Any) -> Any:
        if type(value) is Secret:
            if not self._reveal:
                raise Unsupported(_HIDDEN)
            value = value.reveal()
        return super().plain(value)

    def _container(self, value: Any) -> dict[str, Any] | list[Any] | None:
        if isinstance(value, Fields):
            return self._object(list(value.fields.items()), dotted=True)
        if isinstance(value, Opaque):
            raise Unsupported(f"{value.text} has no form in JSON")
        return super()._container(value)

    def _instead(self, value: Any, problem: str) -> Any:
        raise Unsupported(problem)


class Exact(Values):
    """The values of a stored state, of their own types: for files that other programs read."""

    def checked(self, name: str, *, reveal: bool) -> Any:
        """Give the content of a state object.

        Args:
            name: Its name.
            reveal: Also if there are secrets in it.

        Raises:
            CommandError: There are objects in it that only its program can make.
        """
        value = self.of(name)
        for path, problem in _problems_in(value, name, reveal=reveal):
            raise CommandError(f"{path}: {problem}")
        return value

    def _container(self, node_id: int, node: NodeState, content: Any) -> Any:
        made: Any
        if node.kind == "counter":
            made = self._made[node_id] = Counter()
        elif node.kind == "ordereddict":
            made = self._made[node_id] = OrderedDict()
        elif node.kind == "defaultdict":
            factory = self._value({"$defaultdict": [node.metadata, {}]})
            made = self._made[node_id] = factory
        else:
            return super()._container(node_id, node, content)
        if not isinstance(made, Opaque):
            for key, value in content.items():
                made[self._key(key)] = self._value(value)
        return made

    def _make(self, kind: str, content: Any) -> Any:
        if kind == "counter":
            return Counter(content)
        if kind == "defaultdict" and isinstance(content.default_factory, Opaque | Unknown):
            return Opaque("a defaultdict with a factory of its program")
        if kind in {"ordereddict", "defaultdict"}:
            return content
        return super()._make(kind, content)


def _problems_in(value: Any, path: str, *, reveal: bool) -> Iterator[tuple[str, str]]:
    """Find secrets, and what stands for objects of classes that are not known here."""
    left, seen = deque([(path, value)]), set[int]()
    while left:
        path, value = left.popleft()
        if type(value) is Secret and not reveal:
            yield path, _HIDDEN
        elif isinstance(value, Fields | Opaque):
            shown = value.text if isinstance(value, Opaque) else type(value).__name__
            yield path, f"{shown} is an object that only its program can make: export it as json"
        elif id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, dict):
                left += [(f"a key of {path}", key) for key in value]
                left += [(extended(path, key), item) for key, item in value.items()]
            elif isinstance(value, list | tuple | deque):
                left += [(extended(path, at), item) for at, item in enumerate(value)]
            elif isinstance(value, set | frozenset):
                left += [(f"a member of {path}", member) for member in value]


def write_shelf(path: Path, value: Any, name: str) -> None:
    """Make a shelf of the entries of a dict."""
    entries = _entries(value, name, "a shelf")
    shelf = shelve.open(str(path), flag="n")  # noqa: S301, SIM115 - it is written; closed below
    database: Any = vars(shelf)["dict"]
    try:
        with shelf:
            shelf.update(entries)
    except BaseException:
        with contextlib.suppress(OSError):  # else the collector does it, and complains
            database.close()
        raise


def write_sqlitedict(path: Path, value: Any, name: str, table: str) -> None:
    """Make the file of a SqliteDict of the entries of a dict."""
    entries = _entries(value, name, "a SqliteDict")
    quoted = _quoted(table)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE {quoted} (key TEXT PRIMARY KEY, value BLOB)")
        pickled = ((key, _pickled(item)) for key, item in entries.items())
        connection.executemany(f"INSERT INTO {quoted} VALUES (?, ?)", pickled)  # noqa: S608 - quoted


def write_pickle(path: Path, value: Any) -> None:
    """Make a file with a pickle."""
    path.write_bytes(_pickled(value))


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def _quoted(table: str) -> str:
    if not table or "\0" in table:
        raise CommandError("a table needs a name")
    return '"' + table.replace('"', '""') + '"'


def _entries(value: Any, name: str, kind: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CommandError(f"{name} is no dict, and {kind} is one: export it as json or pickle")
    for key in value:
        if type(key) is not str:
            raise CommandError(
                f"{name} has keys that are no texts, as {type(key).__name__}, and {kind} has only "
                "texts: export it as json or pickle"
            )
    return value


def read(source: str, form: str, *, table: str, trusted: bool) -> Any:
    """Read a file of another library.

    Args:
        source: The file; of the format use_state also `apify:KEY` or `apify:STORE/KEY`.
        form: One of `parser.FORMATS`, but not json.
        table: The table of a SqliteDict.
        trusted: Whether pickles in it may run code.

    Raises:
        CommandError: It cannot be read.
        UsageError: It is pickled, and not trusted.
    """
    if form == "use_state":
        return _read_record(source)
    path = Path(source)
    if form == "sqlitedict":
        return _read_sqlitedict(path, table, trusted=trusted)
    _check_trusted(source, trusted=trusted)
    if form == "shelve":
        return _read_shelf(source)
    return _unpickled(lambda: pickle.loads(path.read_bytes()), source)  # noqa: S301 - with consent


def _check_trusted(source: str, *, trusted: bool) -> None:
    if not trusted:
        raise UsageError(
            f"{source} is pickled, and a pickle runs whatever code its writer has put into it: "
            "say --unsafe-pickle if you trust all who could write it"
        )
    if "" not in sys.path:
        sys.path.insert(0, "")  # the classes of its program, as that finds them


def _unpickled(load: Callable[[], Any], where: str) -> Any:
    try:
        return load()
    except OSError:
        raise
    except Exception as error:
        raise CommandError(
            f"{where} cannot be unpickled ({type(error).__name__}: {error}): run the command where "
            "the modules of its classes are found"
        ) from None


def _read_record(source: str) -> Any:
    scheme, _, rest = source.partition(":")
    if scheme == "apify":
        store, _, key = rest.rpartition("/")
        check_key(key)
        data = read_record(store or None, key, timeout=_TIMEOUT)
        if data is None:
            raise CommandError(f"there is no record {key} in {scheme}:{store}")
    else:
        data = Path(source).read_bytes()
    found = parse_json(data)
    if not isinstance(found, dict):
        raise CommandError(f"{source} holds no JSON object, and Actor.use_state keeps nothing else")
    return found


def _read_shelf(source: str) -> dict[str, Any]:
    import dbm

    try:
        shelf = shelve.open(source, flag="r")  # noqa: S301, SIM115 - with consent; closed below
    except (*dbm.error, ValueError, SyntaxError, TypeError) as error:  # also of a damaged index
        raise CommandError(
            f"{source} is no shelf, or damaged, or of a kind that is not known here ({error})"
        ) from None
    with contextlib.closing(shelf):
        try:
            keys = [*shelf]
        except ValueError:
            raise CommandError(
                f"{source} is damaged, or no shelf: it has keys that are no texts in UTF-8"
            ) from None
        return {key: _unpickled(lambda: shelf[key], f"{source}[{key!r}]") for key in keys}  # noqa: B023


def _read_sqlitedict(path: Path, table: str, *, trusted: bool) -> dict[str, Any]:
    if not path.is_file():
        raise CommandError(f"there is no file {path}")
    made: dict[str, Any] = {}
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    with contextlib.closing(connection):
        try:
            rows = connection.execute(f"SELECT key, value FROM {_quoted(table)}").fetchall()  # noqa: S608 - quoted
        except sqlite3.Error as error:
            there = _tables(connection)
            raise CommandError(
                f"{path} is no SqliteDict with a table {table} ({error}){there}"
            ) from None
    for key, value in rows:
        where = f"{path}[{key!r}]"
        if isinstance(value, str):  # SqliteDict(encode=json.dumps)
            try:
                made[key] = json.loads(value)
            except ValueError:
                raise CommandError(f"{where} is neither pickled nor JSON") from None
            continue
        if not isinstance(value, bytes):
            raise CommandError(f"{where} is neither pickled nor JSON")
        _check_trusted(str(path), trusted=trusted)
        made[key] = _unpickled(lambda: pickle.loads(value), where)  # noqa: S301, B023 - with consent
    return made


def _tables(connection: sqlite3.Connection) -> str:
    try:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.Error:
        return ""
    return f". Its tables are: {', '.join(name for (name,) in found)}: see --table"


def form_of_value(value: Any, name: str) -> Any:
    """Give the form of a value that becomes a state object, for `document.Parsed`.

    Raises:
        CommandError: Something in it cannot be saved.
    """
    if type(value) is OrderedDict:
        raise CommandError(f"{name} is an OrderedDict, which is saved only inside other objects")
    try:
        form = jsonable(value, _Once())
    except Unsupported as problem:
        raise CommandError(f"{name}{problem.path}: {problem.problem}") from None
    except AutostateError as error:
        raise CommandError(f"{name}: {error}") from None
    if type(value) in {dict, list, set, Counter, deque, defaultdict}:
        return form
    return {"$proxy": form}


class _Once:
    """Refuses a container that is found at two places, of which two would be made."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}

    def __call__(self, value: Any) -> None:
        if id(value) in self._seen:
            raise Unsupported("it is found at two places, and would be two afterwards")
        self._seen[id(value)] = value
