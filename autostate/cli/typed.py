"""A text that was typed in, as tagged JSON of the type that the present value has."""

from __future__ import annotations

import ast
from typing import Any

from autostate.cli.errors import CommandError
from autostate.cli.fitting import Absent, Fitting
from autostate.cli.forms import holds_secrets, parsed, plain_json
from autostate.cli.kinds import check_secret, kind_of, with_content
from autostate.cli.paths import LITERAL_ERRORS
from autostate.journal.commit import NodeState


class Typed:
    """Values of the types that others have.

    Args:
        nodes: The nodes to which the others may refer.
        hides: Quote nothing in errors of what was given; what is given for a secret never is.
    """

    def __init__(self, nodes: dict[int, NodeState], *, hides: bool = False) -> None:
        self._nodes = nodes
        self._fitting = Fitting(nodes, hides=hides)

    def like(self, text: str, old: Any) -> Any:
        """Give the JSON of a typed value, of the type of the present one.

        Args:
            text: What was typed.
            old: The JSON of the present value; or `Absent`.

        Raises:
            CommandError: It is of another type.
        """
        old = self._fitting.resolved(old)
        if isinstance(old, Absent):
            secrets = self._fitting.secrets(old.beside)
            self._fitting.hides |= bool(secrets)
            return self._fitting.read(text, secrets)
        self._fitting.hides |= holds_secrets(old, self._nodes)
        return self._fitting.read(text, [old])

    def secret(self, text: str, old: Any, way: str | None) -> Any:
        """Give the JSON of a typed secret.

        Args:
            text: What it is to hold.
            old: The JSON of the present value; or `Absent`. What is no secret yet is made one.
            way: How the text is written, if the content is to have another type.

        Raises:
            CommandError: It is of another type, or no secret can hold it.
        """
        old = self._fitting.resolved(old)
        self._fitting.hides = True
        if kind_of(old) == "$secret" and way is None:
            return self.like(text, old)
        if way is not None:
            made = self.as_given(text, way)
        else:
            made = (
                text if old is None or isinstance(old, Absent) else self._fitting.read(text, [old])
            )
        try:
            check_secret(made)
        except TypeError as error:
            raise CommandError(f"it cannot be a secret: {error}") from None
        return with_content(old, made) if kind_of(old) == "$secret" else {"$secret": made}

    def as_given(self, text: str, way: str) -> Any:
        """Give the JSON of a value whose type the user has chosen.

        Args:
            text: The value.
            way: One of `parser.WAYS`.

        Raises:
            CommandError: It cannot be read, or not be saved.
        """
        value: Any = text
        quoted = self._fitting.quoted(text)
        if way == "json":
            try:
                value = parsed(text)
            except ValueError:
                raise CommandError(
                    f'{quoted} is no JSON, such as 7, true, [1, 2] or "text"'
                ) from None
        elif way == "python":
            try:
                value = ast.literal_eval(text.strip())
            except LITERAL_ERRORS:
                raise CommandError(
                    f"{quoted} is no literal of Python, such as (1, 2) or {{'a'}} or b'\\x00'"
                ) from None
        return plain_json(value)
