"""The site of the documentation has all pages and all public names; `make docs` builds it."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import autostate
from docs.site import reference
from docs.site.sources import INDEX, RENAMED, ROOT, DeadLinkError, Sources, sections

SUBMODULES = [
    "autostate.delivery",
    "autostate.errors",
    "autostate.hub",
    "autostate.scrapy",
    "autostate.testing",
]
"""Those whose names programs may use, beside `autostate` itself."""
SHOWN = [name for group in reference.GROUPS.values() for name in group.names]


def _object(name: str) -> Any:
    """What a dotted name means."""
    if name in sys.modules:
        return sys.modules[name]
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def _public() -> set[str]:
    """All names that programs may use."""
    names = {f"autostate.{name}" for name in [*autostate.__all__, "open"]}
    for name in SUBMODULES:
        module = importlib.import_module(name)
        own = [
            each
            for each, value in vars(module).items()
            if not each.startswith("_")
            and isinstance(value, type | autostate.hub.HubSignal)
            and (isinstance(value, autostate.hub.HubSignal) or value.__module__ == name)
        ]
        names |= {f"{name}.{each}" for each in getattr(module, "__all__", own)}
    return names


def test_the_reference_shows_every_public_name() -> None:
    """Those of `autostate.__all__` and of public submodules, each on one page, with a docstring."""
    shown = {id(_object(name)) for name in SHOWN}
    assert {name for name in _public() if id(_object(name)) not in shown} == set()
    assert len(SHOWN) == len(set(SHOWN)) == len(shown)
    for name in SHOWN:
        assert inspect.getdoc(_object(name)), name
    for group in reference.GROUPS.values():
        assert set(group.bare) <= set(group.names)


def test_the_index_lists_every_page_once() -> None:
    """What it does not list would not be in the navigation."""
    listed = [path for each in sections((ROOT / INDEX).read_text()).values() for path in each]
    pages = [*RENAMED, *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
    assert sorted(listed) == sorted(set(pages) - {"README.md", INDEX})


def test_no_link_between_pages_is_dead() -> None:
    """Neither on GitHub nor on the site: to a file, or to a heading of a page."""
    sources = Sources()
    sources.collect()
    dead = []
    for name, text in sources.pages.items():
        for path, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*\.md)?#([^)\s]+)\)", text):
            target = (Path("/") / name).parent / path if path else Path("/") / name
            page = sources.pages[str(target.resolve().relative_to("/"))]
            if anchor not in _anchors(page):
                dead.append((name, path, anchor))
    assert dead == []


def _anchors(page: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    page = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_to_pages_of_the_site(tmp_path: Path) -> None:
    """From the front page, from pages, and to code, pictures and folders; code is left alone."""
    sources = _small(tmp_path, "[a](../README.md#top) [b](../one.py) ![c](p.svg) `x[1](y)`")
    sources.collect()
    assert sources.pages["page.md"] == (
        "[a](index.md#top) [b](code/one.py.md) ![c](p.svg) `x[1](y)`"
    )
    assert sources.pages["code/one.py.md"].endswith("````python\nx = 1\n````\n")
    assert sources.files == {"p.svg": tmp_path / "docs" / "p.svg"}
    assert "[page](page.md): what it says" in sources.pages["index.md"]
    assert ":caption: Pages\n\npage\n" in sources.pages["index.md"]
    assert sources.pages["llms.txt"].startswith("# it\n\n> What it is.\n")


def test_a_link_to_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """It names the page, and the file."""
    sources = _small(tmp_path, "[a](gone.md)")
    with pytest.raises(DeadLinkError, match=r"docs/page\.md links to docs/gone\.md"):
        sources.collect()


def test_what_is_not_a_page_any_more_is_removed(tmp_path: Path) -> None:
    """And a page that is as it was is not written again: Sphinx would read it again."""
    sources = _small(tmp_path, "one")
    sources.collect()
    sources.write(tmp_path / "out")
    kept = (tmp_path / "out" / "page.md").stat().st_mtime_ns
    (tmp_path / "out" / "old.md").touch()
    sources.write(tmp_path / "out")
    assert (tmp_path / "out" / "page.md").stat().st_mtime_ns == kept
    assert not (tmp_path / "out" / "old.md").exists()


def _small(folder: Path, page: str) -> Sources:
    """A repository with one page."""
    for name in RENAMED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("# it\n\nWhat it\nis.\n\nMore words.\n")
    (folder / "docs").mkdir()
    index = "# it\n\n## Pages\n\n- [page](page.md): what it says\n"
    (folder / "docs" / "index.md").write_text(index)
    (folder / "docs" / "page.md").write_text(page)
    (folder / "docs" / "p.svg").write_text("<svg/>")
    (folder / "one.py").write_text("x = 1\n")
    return Sources(folder)
