"""The pages of the site, made from the Markdown files of the repository.

The front page is README.md, with the lists of docs/index.md in place of its last section; each
list is a part of the navigation, too. A file of code to which a page links gets a page of its own.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from docs.site import reference

ROOT: Final = Path(__file__).parents[2]

RENAMED: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "examples/actors/README.md": "examples/actors.md",
    "examples/patterns/README.md": "examples/patterns.md",
    "examples/servers/README.md": "examples/servers.md",
}
"""The pages that are no files of `docs`."""

INDEX: Final = "docs/index.md"
LANGUAGES: Final = {".py": "python", "Dockerfile": "docker", ".toml": "toml", ".yml": "yaml"}
PICTURES: Final = {".svg", ".png"}
"""Files that are copied as they are."""

_CODE: Final = re.compile(
    r"^ *```.*?^ *```$|(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.MULTILINE | re.DOTALL
)
_LINK: Final = re.compile(r"(?<=\]\()(?![a-z]+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)]*)?(?=\))")
_SECTION: Final = re.compile(r"^## (?P<title>.+)\n(?P<body>(?:(?!^## ).*\n?)*)", re.MULTILINE)
_ENTRY: Final = re.compile(r"^- \[[^]]+\]\((?P<path>[^)#]+)\)", re.MULTILINE)


class DeadLinkError(Exception):
    """A page links to a file that is not there."""


@dataclass
class Sources:
    """The sources of the site.

    Attributes:
        root: The folder of the repository.
        pages: The text of each page, by its path on the site.
        files: The files that are copied as they are, by their paths on the site.
    """

    root: Path = ROOT
    pages: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    def collect(self) -> None:
        """Make all pages.

        Raises:
            DeadLinkError: A page links to a file that is not there.
        """
        index = self._text(INDEX)
        front = self._text("README.md").partition("\n## More\n")[0]
        lists = index[index.index("\n## ") :]
        trees = _trees(index, reference.PAGES)
        self.pages["index.md"] = "\n".join(
            [
                self._on_site("README.md", front),
                self._on_site(INDEX, lists),
                trees,
            ]
        )
        for path in self.names():
            if path not in {"README.md", INDEX}:
                self.pages[place(path)] = self._on_site(path, self._text(path))
        for name, text in reference.pages():
            self.pages[name] = text
        self.pages["llms.txt"] = _for_models(front, self._on_site(INDEX, lists))

    def names(self) -> list[str]:
        """Give the paths of all files that are pages, below the root."""
        docs = sorted(path.name for path in (self.root / "docs").glob("*.md"))
        return [*RENAMED, *(f"docs/{name}" for name in docs)]

    def write(self, folder: Path) -> None:
        """Write everything into a folder, and touch no file that is there as it should be."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {folder / name for name in [*self.pages, *self.files]}
        for path in [path for path in folder.rglob("*") if path.is_file() and path not in kept]:
            path.unlink()
        for name, text in self.pages.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
        for name, source in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)

    def _text(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def _on_site(self, path: str, text: str) -> str:
        """Lead the links of a file to pages of the site."""

        def led(match: re.Match[str]) -> str:
            there = os.path.normpath(PurePosixPath(path).parent / match["path"])
            return self._target(path, there) + (match["anchor"] or "")

        return "".join(part if is_code else _LINK.sub(led, part) for is_code, part in _parts(text))

    def _target(self, path: str, there: str) -> str:
        """Give the way from one page to another, a picture, or a file of code."""
        file = self.root / there
        if file.is_dir() and (file / "README.md").is_file():
            file, there = file / "README.md", f"{there}/README.md"
        if not file.exists():
            raise DeadLinkError(f"{path} links to {there}, which is not there")
        target = place(there)
        if file.is_dir():
            target = self._folder(there)
        elif file.suffix in PICTURES:
            self.files[target] = file
        elif there not in RENAMED and not re.fullmatch(r"docs/[^/]+\.md", there):
            target = self._code(there)
        here = PurePosixPath(place(path)).parent
        return PurePosixPath(os.path.relpath(target, here)).as_posix()

    def _folder(self, path: str) -> str:
        """Make a page that lists the files of a folder, and give its path."""
        name = f"code/{path}.md"
        found = sorted(each for each in (self.root / path).iterdir() if each.is_file())
        self.files |= {f"code/{path}/{each.name}": each for each in found}
        lines = [f"- [{each.name}]({Path(path).name}/{each.name})" for each in found]
        self.pages[name] = f"---\norphan: true\n---\n\n# `{path}`\n\n" + "\n".join(lines) + "\n"
        return name

    def _code(self, path: str) -> str:
        """Make a page that shows a file of code, and give its path."""
        name = f"code/{path.replace('/.', '/')}.md"
        suffix = Path(path).suffix or Path(path).name
        fence = f"````{LANGUAGES.get(suffix, 'text')}\n{self._text(path)}````\n"
        self.pages[name] = f"---\norphan: true\n---\n\n# `{path}`\n\n{fence}"
        return name


def place(path: str) -> str:
    """Give the path on the site of a file of the repository."""
    if path == INDEX:
        return "index.md"
    return RENAMED.get(path, path.removeprefix("docs/"))


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """Give the parts of a page that are code, and those that are not."""
    end = 0
    for match in _CODE.finditer(text):
        yield False, text[end : match.start()]
        yield True, match[0]
        end = match.end()
    yield False, text[end:]


def sections(index: str) -> dict[str, list[str]]:
    """Give the sections of docs/index.md, and the files that each lists, below the root."""
    return {
        match["title"]: [
            os.path.normpath(f"docs/{entry['path']}") for entry in _ENTRY.finditer(match["body"])
        ]
        for match in _SECTION.finditer(index)
    }


def _trees(index: str, last: list[str]) -> str:
    """Give the navigation: a tree for each section of docs/index.md, and one of the last pages."""
    listed = [
        (title, [place(path).removesuffix(".md") for path in paths])
        for title, paths in sections(index).items()
    ]
    listed.append(("Every public name", last))
    return "\n".join(
        f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n"
        for title, pages in listed
    )


def _for_models(front: str, lists: str) -> str:
    """Give `llms.txt`: what this is, and where the text of each page lies (llmstxt.org)."""
    title, _, rest = front.partition("\n\n")
    summary = " ".join(rest.partition("\n\n")[0].split())
    joined = re.sub(r"\n  +", " ", lists)
    return f"{title}\n\n> {summary}\n{joined}"
