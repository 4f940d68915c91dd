"""JSON that was given, as values of the types that others have.

What JSON has stays as it is given, and what it lacks is read as the type of what is there: of the
present value at the place; of an item of a list or a member of a set, which has no place of its
own, as the type that all items have. A secret stays one in both ways.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from autostate.cli import texts
from autostate.cli.errors import CommandError
from autostate.cli.forms import (
    MAPPINGS,
    form_of,
    holds_secrets,
    is_mapping,
    mapping,
    pairs_of,
    plain_json,
)
from autostate.codec import decode, decode_key
from autostate.codec.raw import is_tagged
from autostate.codec.secret import Secret
from autostate.errors import CorruptStateError
from autostate.journal.commit import NodeState

JSONS: Final = frozenset({"str", "bool", "int", "float"})
"""The kinds of values that JSON has."""
GIVEN: Final = frozenset({"list", "$tuple", "$set", "$frozenset", "$deque", "$object", *MAPPINGS})
"""The kinds of values that are given as an array or an object."""
OTHER_TYPE: Final = "--as json, --as python or --as text give it another type"

_TOO_MUCH: Final = frozenset({"$float", "$int", "$str"})
"""The tags of values that JSON has, but not each of its readers."""


class Absent(NamedTuple):
    """What stands for the present value if there is none.

    Attributes:
        beside: The JSON of the other values in the same mapping.
    """

    beside: Iterable[Any] = ()


class Fitting:
    """What was given, as values of the types that others have.

    Args:
        nodes: The nodes to which the others may refer.
        hides: Quote nothing in errors of what was given.

    Attributes:
        hides: As given.
    """

    def __init__(self, nodes: dict[int, NodeState], *, hides: bool) -> None:
        self._nodes = nodes
        self.hides: bool = hides

    def quoted(self, given: Any) -> str:
        """Give what an error says of what was given."""
        return "what was given" if self.hides else repr(given)

    def resolved(self, old: Any) -> Any:
        """Give the JSON of a value in the place of a reference to it."""
        while isinstance(old, dict) and len(old) == 1 and "$ref" in old:
            old = form_of(self._nodes[old["$ref"]])
        if isinstance(old, dict) and kind_of(old) in _TOO_MUCH:
            return decode(old, lambda _, content: content)
        return old

    def secrets(self, values: Iterable[Any]) -> list[Any]:
        """Give values, if they are secrets, all of them; else none."""
        found = []
        for value in values:
            found.append(self.resolved(value))
            if kind_of(found[-1]) != "$secret":
                return []
        return found

    def like(self, given: Any, old: Any, where: str = "the value") -> Any:
        """Give a value of the type of the present one.

        Args:
            given: What was given, of JSON.
            old: The JSON of the present value; or `Absent`.
            where: The place, as messages say it.

        Raises:
            CommandError: It is of another type.
        """
        old = self.resolved(old)
        if isinstance(old, Absent):
            return self._among(given, self.secrets(old.beside), where)
        kind = kind_of(old)
        if kind == "None":
            return plain_json(given)
        if kind in JSONS:
            return self._scalar(given, kind, where)
        return self._of_kind(given, kind, [old], where, fresh=False)

    def of_text(self, tag: str, text: str, old: Any, where: str) -> Any:
        """Read a text as a value of a type that `texts` has.

        Raises:
            CommandError: It is none.
        """
        try:
            return texts.read(tag, text, old)
        except ValueError:
            raise CommandError(
                f"{where} is {texts.kind_of(tag)}, and {self.quoted(text)} is none"
            ) from None

    def _among(self, given: Any, olds: Iterable[Any], where: str) -> Any:
        """Give a value of the type that all others have; of those that JSON has, as it is."""
        olds = [*map(self.resolved, olds)]
        if given is None and None in olds:
            return None
        olds = [old for old in olds if old is not None]
        kinds = {*map(kind_of, olds)}
        if len(kinds) == 1 and not kinds <= JSONS:
            return self._of_kind(given, kinds.pop(), olds, where, fresh=True)
        if any(holds_secrets(old, self._nodes) for old in olds):
            raise CommandError(
                f"secrets are kept beside other values where {where} would be: set each one by its "
                "path"
            )
        if kinds == {"float"} and type(given) is int:
            return float(given)
        return plain_json(given)

    def _of_kind(self, given: Any, kind: str, olds: list[Any], where: str, *, fresh: bool) -> Any:
        """Give a value of a type that JSON lacks, or has as a container.

        Args:
            given: What was given.
            kind: The type.
            olds: The JSON of values of it: of the present one, or of others.
            where: The place, as messages say it.
            fresh: Whether there is no present value.
        """
        if kind == "$secret":
            return self._secret(given, olds, where)
        if kind in texts.TAGS:
            text = str(given) if kind == "$timedelta" and type(given) in {int, float} else given
            text = self._checked(text, str, f"a {kind[1:]}", where)
            return self.of_text(kind, text, olds[-1], where)
        if kind == "list":
            items = self._checked(given, list, "a list", where)
            return self._items(items, [item for old in olds for item in old], where)
        if kind == "$tuple":
            return self._tuple(given, [old[kind] for old in olds], where, fresh=fresh)
        if kind in {"$set", "$frozenset"}:
            return self._members(given, kind, olds, where)
        if kind == "$deque":
            return self._deque(given, [old[kind] for old in olds], where)
        if kind == "$object":
            return self._object(given, [old[kind] for old in olds], where, fresh=fresh)
        if kind in MAPPINGS:
            return self._mapping(given, kind, olds, where, fresh=fresh)
        raise only_its_program(kind, where)

    def _at(self, given: Any, olds: list[Any], where: str, *, fresh: bool) -> Any:
        """Give a value for a place that is in all others, too."""
        return self._among(given, olds, where) if fresh else self.like(given, olds[0], where)

    def _secret(self, given: Any, olds: list[Any], where: str) -> Any:
        """Keep the type of what is hidden: nobody would see that it has become another one."""
        contents = [self.resolved(content_of(old)) for old in olds]
        alike = len({*map(kind_of, contents)}) == 1
        try:
            made = self.like(given, contents[-1], where) if alike else plain_json(given)
            check_secret(made)
        except (CommandError, TypeError):
            raise other_secret(where) from None
        return with_content(olds[-1], made)

    def _items(self, given: list[Any], olds: list[Any], where: str) -> list[Any]:
        return [self._among(item, olds, f"{where}[{at}]") for at, item in enumerate(given)]

    def _tuple(self, given: Any, olds: list[list[Any]], where: str, *, fresh: bool) -> Any:
        """Keep the type at each place, like those of fields, if the tuple keeps its length."""
        items = self._checked(given, list, "a tuple", where)
        if {*map(len, olds)} != {len(items)}:
            return {"$tuple": self._items(items, [item for old in olds for item in old], where)}
        places = enumerate(zip(items, *olds, strict=True))
        return {
            "$tuple": [
                self._at(item, present, f"{where}[{at}]", fresh=fresh)
                for at, (item, *present) in places
            ]
        }

    def _members(self, given: Any, tag: str, olds: list[Any], where: str) -> Any:
        items = self._checked(given, list, f"a {tag[1:]}", where)
        made = self._items(items, [item for old in olds for item in old[tag]], where)
        members: dict[Any, Any] = {}
        for each in made:
            try:
                members.setdefault(decode_key(each), each)
            except CorruptStateError:
                raise CommandError(
                    f"{where} is a set, of which lists and dicts cannot be members"
                ) from None
        return {tag: [*members.values()]}

    def _deque(self, given: Any, olds: list[Any], where: str) -> Any:
        items = self._checked(given, list, "a deque", where)
        made = self._items(items, [item for old, _ in olds for item in old], where)
        limit = olds[-1][1]
        if limit is not None and len(made) > limit:
            raise CommandError(f"{where} is a deque of at most {limit} items, not {len(made)}")
        return {"$deque": [made, limit]}

    def _mapping(self, given: Any, tag: str, olds: list[Any], where: str, *, fresh: bool) -> Any:
        """Keep the types of the keys and values that stay."""
        self._checked(given, dict, f"a {tag[1:]}", where)
        contents = [old if tag == "$dict" else old[tag] for old in olds]
        if tag == "$defaultdict":
            contents = [content for _, content in contents]
        present = [pair for content in contents for pair in pairs_of(content)]
        known: dict[str, tuple[Any, list[Any]]] = {}
        for key, value in present:
            known.setdefault(_shown(key), (key, []))[1].append(value)
        nothing = 0 if tag == "$counter" else Absent([value for _, value in present])
        pairs = []
        for name, value in given.items():
            inside = f"{where}[{name!r}]"
            if name in known:
                key, before = known[name]
                pairs.append((key, self._at(value, before, inside, fresh=fresh)))
            else:
                pairs.append((name, self.like(value, nothing, inside)))
        made = mapping(pairs)
        if tag == "$defaultdict":
            return {tag: [olds[-1][tag][0], made]}
        return made if tag == "$dict" else {tag: made}

    def _object(self, given: Any, olds: list[Any], where: str, *, fresh: bool) -> Any:
        """Replace the fields that are given; of a new object they are all of them."""
        name, payload = olds[-1]
        shown = name.rpartition(":")[2]
        if any(old[0] != name or not is_mapping(old[1]) for old in olds):
            raise CommandError(
                f"{where} is a {shown}, whose stored form only its program knows: give a part of it"
            )
        self._checked(given, dict, f"a {shown}", where)
        fields = dict(pairs_of(payload))
        for field, value in given.items():
            if field not in fields:
                known = ", ".join(map(str, fields))
                raise CommandError(f"{where} is a {shown}, whose fields are {known}: not {field}")
            present = [dict(pairs_of(old)).get(field) for _, old in olds]
            fields[field] = self._at(value, present, f"{where}.{field}", fresh=fresh)
        missing = [str(field) for field in fields if fresh and field not in given]
        if missing:
            raise CommandError(
                f"{where} is a new {shown}, of which all fields have to be given: also "
                f"{', '.join(missing)}"
            )
        return {"$object": [name, mapping(fields.items())]}

    def _scalar(self, given: Any, kind: str, where: str) -> Any:
        if kind == "bool":
            if not isinstance(given, bool):
                quoted = self.quoted(given)
                raise CommandError(f"{where} is true or false, not {quoted}: {OTHER_TYPE}")
            return given
        if kind == "float":
            return plain_json(float(self._checked(given, (float, int), "a float", where)))
        if kind == "int":
            return self._checked(given, int, "an int", where)
        return self._checked(given, str, "a text", where)

    def _checked(self, given: Any, cls: type | tuple[type, ...], kind: str, where: str) -> Any:
        if not isinstance(given, cls) or isinstance(given, bool):
            raise CommandError(f"{where} is {kind}, and {self.quoted(given)} is not: {OTHER_TYPE}")
        return given


def kind_of(json: Any) -> str:
    """Name the type of what is stored: its tag, or what Python calls it."""
    if not isinstance(json, dict):
        return "None" if json is None else type(json).__name__
    if not is_tagged(json):
        return "$dict"
    [(tag, content)] = json.items()
    return "$secret" if tag == "$object" and kind_of(content[1]) == "$secret" else tag


def content_of(secret: Any) -> Any:
    """Give what a secret holds; one of pydantic's is kept as an object that holds a secret."""
    return content_of(secret["$object"][1]) if "$object" in secret else secret["$secret"]


def with_content(secret: Any, content: Any) -> Any:
    """Give a secret of the same class that holds something else."""
    if "$object" in secret:
        name, inner = secret["$object"]
        return {"$object": [name, with_content(inner, content)]}
    return {"$secret": content}


def check_secret(content: Any) -> None:
    """Refuse what no secret can hold.

    Raises:
        TypeError: It is of a type that none can hold.
    """
    Secret(decode(content, lambda _, made: made))


def other_secret(where: str) -> CommandError:
    """Make the error for a secret that holds another type, which quotes nothing."""
    return CommandError(
        f"{where} is a secret, of another type than what was given: set it by its path, with "
        "--secret and --as json, python or text"
    )


def only_its_program(tag: str, where: str) -> CommandError:
    """Make the error for a value that cannot be given."""
    return CommandError(f"{where} is a {tag[1:]}, which only its program can make: {OTHER_TYPE}")


def _shown(key: Any) -> str:
    """Give the text that stands for a key in JSON."""
    return key if isinstance(key, str) else str(decode_key(key))
