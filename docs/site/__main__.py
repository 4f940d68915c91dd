"""Build the site: `python -m docs.site`; arguments are those of Sphinx."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from docs.site.sources import ROOT, Sources

SOURCES: Final = ROOT / "build" / "docs-sources"
SITE: Final = ROOT / "build" / "docs"
CACHE: Final = ROOT / "build" / "docs-doctrees"


def main(arguments: list[str]) -> int:
    """Build all pages, and return what Sphinx returns: a warning is an error."""
    from sphinx.cmd.build import build_main

    sources = Sources()
    sources.collect()
    sources.write(SOURCES)
    settings = str(Path(__file__).parent)
    done: int = build_main(
        [
            *("--builder", "html", "--fail-on-warning", "--nitpicky", "--quiet"),
            "--write-all",  # each page has the navigation
            *("--conf-dir", settings, "--doctree-dir", str(CACHE)),
            *arguments,
            *(str(SOURCES), str(SITE)),
        ]
    )
    if done == 0:
        for name in sources.pages:  # the texts to which llms.txt leads
            target = SITE / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(SOURCES / name, target)
        sys.stdout.write(f"{SITE}/index.html\n")
    return done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
