"""JSON that was given, as values of the types that others have.

What JSON has stays as it is given, and what it lacks is read as the type of what is there: of the
present value at the place; of an item of a list or a member of a set, which has no place of its
own, as the type that all items have. A secret stays one in both ways.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from autostate.cli import plain, texts
from autostate.cli.errors import CommandError
from autostate.cli.forms import (
    MAPPINGS,
    form_of,
    holds_secrets,
    is_mapping,
    mapping,
    pairs_of,
    parsed,
    plain_json,
)
from autostate.cli.kinds import (
    GIVEN,
    JSONS,
    OTHER_TYPE,
    check_secret,
    content_of,
    kind_of,
    only_its_program,
    other_secret,
    with_content,
)
from autostate.cli.paths import LITERAL_ERRORS, MISSING, Keys
from autostate.cli.values import Values
from autostate.codec import decode, decode_key, encode_key
from autostate.errors import CorruptStateError
from autostate.journal.commit import NodeState

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
        self._values = Values.of_none()
        self.hides: bool = hides

    def quoted(self, given: Any) -> str:
        """Give what an error says of what was given."""
        return "what was given" if self.hides else plain.cut(repr(given))

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

    def read(self, text: str, olds: Sequence[Any]) -> Any:
        """Read a text as a value like others; if these are of several types, as JSON, or as it is.

        Args:
            text: What was typed.
            olds: The JSON of the others.

        Raises:
            CommandError: It is of another type.
        """
        olds = [*map(self.resolved, olds)]
        kinds = {*map(kind_of, olds)}
        kind = kinds.pop() if len(kinds) == 1 else "None"
        if kind == "$secret":
            contents = [self.resolved(content_of(old)) for old in olds]
            alike = len({*map(kind_of, contents)}) == 1 and contents[0] is not None
            try:
                made = self.read(text, contents) if alike else text
            except CommandError:
                raise other_secret("the value") from None
            return with_content(olds[-1], made)
        if kind == "str":
            return text
        if kind in texts.TAGS:
            return self._of_text(kind, text, olds[-1], "the present value")
        if kind == "float":
            with contextlib.suppress(ValueError):  # else it is told what the value is
                return plain_json(float(text))
        if kind not in GIVEN | JSONS | {"None"}:
            raise only_its_program(kind, "the value")
        try:
            given = parsed(text)
        except ValueError:
            if kind == "None":
                return text
            raise CommandError(
                f"{self.quoted(text)} is no JSON, such as 7 or [1, 2], and the present value is no "
                f"text: {OTHER_TYPE}"
            ) from None
        return plain_json(given) if kind == "None" else self.like(given, olds[-1])

    def new_key(self, step: Any, present: Iterable[Any], where: str) -> Any:
        """Give the JSON of a key that is not there yet.

        A text becomes one of the type that all present keys have. So does what is in a tuple.

        Args:
            step: What was given: a text, or what is in brackets.
            present: The JSON of the present keys.
            where: The mapping, as messages say it.

        Raises:
            CommandError: It is of another type, or cannot be a key.
        """
        try:
            hash(step)
        except TypeError:
            raise CommandError(f"{step!r} cannot be a key, in {where}") from None
        if isinstance(step, str):
            return self._text_key(step, present, where)
        olds = [*present] if isinstance(step, tuple) else []
        if {*map(kind_of, olds)} != {"$tuple"}:
            return encode_key(step)
        return as_member(self._of_kind(_listed(step), "$tuple", olds, where, fresh=True), where)

    def _text_key(self, step: str, present: Iterable[Any], where: str) -> Any:
        olds = []
        for key in present:
            if isinstance(key, str):
                return step
            olds += [] if key is None else [key]
        if not olds:
            return step
        kinds = {*map(kind_of, olds)}
        if kinds == {"int", "float"}:
            olds = [0.5 if "." in step or "e" in step else 0]
        elif len(kinds) > 1 or kinds == {"$object"}:
            raise _no_key(step, olds, where)
        try:
            return as_member(self.read(step, olds), where)
        except CommandError:
            pass
        try:  # as messages write it
            return self.new_key(ast.literal_eval(step), olds, where)
        except (CommandError, *LITERAL_ERRORS):
            raise _no_key(step, olds, where) from None

    def _of_text(self, tag: str, text: str, old: Any, where: str) -> Any:
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
            return self._of_text(kind, text, olds[-1], where)
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
            member = as_member(each, where)
            members.setdefault(decode_key(member), member)
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
        known: dict[Any, tuple[Any, list[Any]]] = {}
        for json_key, value in (pair for content in contents for pair in pairs_of(content)):
            known.setdefault(self._values.key(json_key), (json_key, []))[1].append(value)
        values = [value for _, before in known.values() for value in before]
        nothing = 0 if tag == "$counter" else Absent(values)
        present = [one for one, _ in known.values()]
        keys, pairs = Keys(known), dict[Any, Any]()
        for name, value in given.items():
            inside = f"{where}[{name!r}]"
            key, new = keys.find(name), None
            if key is MISSING:
                new = self.new_key(name, present, where)
                key = self._values.key(new)
            if key in pairs:
                raise CommandError(f"{name!r} names a key of {where} that another name means, too")
            if key in known:
                json_key, before = known[key]
                pairs[key] = json_key, self._at(value, before, inside, fresh=fresh)
            else:
                pairs[key] = new, self.like(value, nothing, inside)
        made = mapping(pairs.values())
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


def as_member(json: Any, where: str) -> Any:
    """Give a value as a member of a set, or as a key: an array in it can only be a tuple.

    Raises:
        CommandError: It cannot be one.
    """
    made = _as_tuples(json)
    try:
        decode_key(made)
    except CorruptStateError:
        raise CommandError(f"in {where} no list, dict or set can be a member or a key") from None
    return made


def _as_tuples(json: Any) -> Any:
    if isinstance(json, list):
        return {"$tuple": [*map(_as_tuples, json)]}
    return _as_tuples(json["$tuple"]) if kind_of(json) == "$tuple" else json


def _listed(value: Any) -> Any:
    return [*map(_listed, value)] if isinstance(value, tuple) else value


def _no_key(step: str, present: Sequence[Any], where: str) -> CommandError:
    key = Values.of_none().key(present[0])
    shown = plain.key_text(key) if kind_of(present[0]) in texts.TAGS else repr(key)
    return CommandError(
        f"the keys of {where} are no texts, and {step!r} is none of them: write one in brackets, "
        f"such as [{shown}]"
    )
