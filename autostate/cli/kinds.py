"""The kinds of stored values, and what a command may do with each."""

from __future__ import annotations

from typing import Any, Final

from autostate.cli.errors import CommandError
from autostate.cli.forms import MAPPINGS
from autostate.codec import decode
from autostate.codec.raw import is_tagged
from autostate.codec.secret import Secret

JSONS: Final = frozenset({"str", "bool", "int", "float"})
"""The kinds of values that JSON has."""
GIVEN: Final = frozenset({"list", "$tuple", "$set", "$frozenset", "$deque", "$object", *MAPPINGS})
"""The kinds of values that are given as an array or an object."""
OTHER_TYPE: Final = "--as json, --as python or --as text give it another type"


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
