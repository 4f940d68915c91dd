"""What autostate promises about the state of a crawl that was killed, checked.

A page whose result was not durable at a kill is crawled again, in another order and at another
time. So the order of pages and the timings differ from an uninterrupted run. All else is a fact
about a page or a sum of such facts, and must be the same to the last word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

State = Mapping[str, Any]
SAME = ("pages", "links", "words", "errors", "cookies", "queue")
KINDS = {
    "pages": dict,
    "links": dict,
    "words": Counter,
    "errors": dict,
    "timings": list,
    "cookies": dict,
    "settings": dict,
    "queue": set,
}


def differences(reference: State, final: State) -> list[str]:
    """Say in what a final state differs from that of an uninterrupted run, or contradicts itself.

    Args:
        reference: The state after the uninterrupted run.
        final: The state after a run with kills.

    Returns:
        One line for each difference; none if there is none.
    """
    return [
        *_differing_facts(reference, final),
        *_wrong_types(final),
        *_contradictions(final),
    ]


def _differing_facts(reference: State, final: State) -> Iterator[str]:
    for name in SAME:
        if reference[name] != final[name]:
            missing, extra = set(reference[name]), set(final[name])
            yield (
                f"{name}: {len(missing - extra)} missing, {len(extra - missing)} too many, "
                f"others differ: {_common_differ(reference[name], final[name])}"
            )
    if final["settings"]["concurrency"] != reference["settings"]["concurrency"]:
        yield "settings: the concurrency is another"


def _common_differ(one: Any, other: Any) -> int:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return 0
    return sum(one[key] != other[key] for key in one.keys() & other.keys())


def _wrong_types(final: State) -> Iterator[str]:
    """A set comes back a set, a moment a moment."""
    for name, kind in KINDS.items():
        if type(final[name]) is not kind:
            yield f"{name} is a {type(final[name]).__name__}, not a {kind.__name__}"
    if not all(type(sources) is set for sources in final["links"].values()):
        yield "links: not every value is a set"
    if not all(type(passed) is timedelta for passed in final["timings"]):
        yield "timings: not every item is a timedelta"
    if type(final["settings"]["started"]) is not datetime:
        yield "settings: the start is not a datetime"


def _contradictions(final: State) -> Iterator[str]:
    """What was changed between two awaits was saved together, so everything adds up."""
    pages = final["pages"]
    if sum(final["words"].values()) != sum(page["words"] for page in pages.values()):
        yield "words: the sum over all words is not the sum over all pages"
    if sum(map(len, final["links"].values())) != sum(page["links"] for page in pages.values()):
        yield "links: the sum over all links is not the sum over all pages"
    if len(final["timings"]) != len(pages):
        yield f"timings: {len(final['timings'])} for {len(pages)} pages"
    if pages.keys() & final["errors"].keys():
        yield "errors: some pages are both done and failed"


def from_use_state(state: State) -> State:
    """Turn what `Actor.use_state` kept into the types that the program meant."""
    settings = state["settings"]
    return {
        **state,
        "links": {link: set(sources) for link, sources in state["links"].items()},
        "words": Counter(state["words"]),
        "timings": [timedelta(seconds=seconds) for seconds in state["timings"]],
        "settings": settings | {"started": datetime.fromisoformat(settings["started"])},
        "queue": set(state["queue"]),
    }
