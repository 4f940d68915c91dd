"""The commands that look: ls, show, get, verify."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from autostate.cli import console, escapes, plain, shared, tables
from autostate.cli.choosing import choose
from autostate.cli.points import nothing_in, refuse_nothing
from autostate.cli.reading import read, value_at
from autostate.journal.verifying import Verified, verify as verify_records
from autostate.runtime.opening import open_state
from autostate.settings import Settings
from autostate.shared.stored import is_in, verify as verify_shared
from autostate.signing import Signer


def ls(*, at: str | None, url: str | None, program: str | None, as_json: bool) -> None:
    """List the state objects, and what programs share: of that no history is kept."""
    state = read(url, program, at)
    rows = tables.object_rows(state)
    shares = shared.found(state.url) if at is None else []
    if not shares:
        refuse_nothing(state)
    left = shared.unpublished(state) if at is None else None
    if as_json:
        there = [shared.as_json(each) for each in shares]
        told = {"objects": rows, "shared": there, "unpublished": left and left._asdict()}
        console.write_json({**tables.about(state), **told})
        return
    if rows or not any(each.url == state.url for each in shares):
        tables.say(tables.heading(state) if at is None else tables.past_heading(state, at))
        tables.table(tables.COLUMNS, [list(row.values()) for row in rows])
    if left is not None:
        tables.say(str(left))
    shared.show_table(shares)


def show(
    *,
    name: str,
    path: list[str],
    at: str | None,
    url: str | None,
    program: str | None,
    as_json: bool,
    everything: bool,
) -> None:
    """Show a state object, or what is at a path in it."""
    value = value_at(name, path, url, program, at)
    if as_json:
        console.write_json(value)
    else:
        tables.pretty(value, whole=everything)


def get(
    *,
    name: str,
    path: list[str],
    at: str | None,
    url: str | None,
    program: str | None,
    reveal: bool,
    as_json: bool,
) -> None:
    """Print one value for a script."""
    value = value_at(name, path, url, program, at)
    text = plain.as_text(value, reveal=reveal)
    if as_json:
        text = plain.in_a_line(value, reveal=reveal)
    elif sys.stdout.isatty():  # a script gets it as it is
        text = escapes.lines(text)
    console.write_exactly(text)


def verify(*, url: str | None, program: str | None, as_json: bool) -> None:
    """Check everything that is stored.

    Raises:
        SystemExit: Something is damaged.
    """
    found = [_verified(each) for each in shared.urls(choose(url, program).url)]
    if not any(each["records"] for each in found):
        raise nothing_in(found[0]["store"])
    problems = [problem for each in found for problem in each["problems"]]
    if as_json:
        console.write_json({"damaged": bool(problems), "stores": found})
    else:
        for each in found:
            copies = each["copies"]
            kept = f"; copies of {copies} unreadable records are kept" if copies else ""
            console.write(
                f"{each['store']}: {each['records']} records, {each['bytes']} bytes{kept}"
            )
    for problem in problems:
        console.warn(problem)
    if problems:
        raise SystemExit(1)
    if not as_json:
        console.write("nothing is damaged")


def _verified(url: str) -> dict[str, Any]:
    """Check the state in a store, and what is shared there; tell how much that is."""
    settings = Settings.for_store(url)
    with contextlib.closing(open_state(url, settings, readonly=True)) as store:
        signer = Signer(store.url, lambda: settings.keys)
        found: list[Verified] = [verify_records(store, signer, timeout=settings.flush_timeout)]
        if is_in(store, settings.flush_timeout):
            found.append(verify_shared(store, settings.flush_timeout))
    return {
        "store": store.url,
        "records": sum(each.records for each in found),
        "bytes": sum(each.bytes for each in found),
        "copies": sum(each.copies for each in found),
        "problems": [problem for each in found for problem in each.problems],
    }
