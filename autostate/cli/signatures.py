"""The command `sign`."""

from __future__ import annotations

from autostate.cli import console, shared, signing
from autostate.cli.choosing import choose_to_write
from autostate.cli.errors import CommandError


def sign(*, url: str | None, program: str | None, remove: bool, yes: bool, as_json: bool) -> None:
    """Sign what is stored with the key that is set, whoever has written it.

    Raises:
        CommandError: Some records were left, because no key that is set fits them.
    """
    named = signing.check(choose_to_write(url, program), remove=remove)
    question = f"Whoever could write to {named} may have changed it. Sign what is there?"
    if remove:
        question = f"Remove all signatures, and encryption, from {named}?"
    if shared.parts(named)[1]:
        question += " First end all processes that share it."
    console.ask(question, yes=yes)
    done = signing.sign(named, remove=remove)
    if as_json:
        console.write_json({"store": named, "records": done.records, "left": done.left})
    else:
        what = "are not protected any more" if remove else "were written anew with the first key"
        console.write(f"{named}: {done.records} records {what}")
    if done.left:
        left = ", ".join(done.left)
        raise CommandError(f"no key that is set fits these, and they were left: {left}")
