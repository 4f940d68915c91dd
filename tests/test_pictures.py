"""Pictures of terminals are what programs have printed, and need nothing from elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from docs.site import pictures
from docs.site.sources import ROOT


def test_a_program_is_run_on_a_terminal(tmp_path: Path) -> None:
    """With a width, in its folder; what it prints is given as it is."""
    code = "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size().columns, os.getcwd())"
    output = pictures.output_of([sys.executable, "-c", code], tmp_path, columns=61)
    assert output == f"True 61 {tmp_path}\n"


def test_a_program_is_killed_when_it_has_printed_something(tmp_path: Path) -> None:
    """As the picture of a killed loop shows it."""
    code = "import time; print('one', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code]
    assert pictures.output_of(command, tmp_path, kill_after="one").strip() == "one"


def test_a_program_that_fails_is_an_error(tmp_path: Path) -> None:
    """Its traceback is no picture."""
    with pytest.raises(RuntimeError, match="ended with 3"):
        pictures.output_of([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)


def test_a_picture_is_a_drawing_of_the_text() -> None:
    """In colours, with a title, and with no address in it that a browser would load."""
    drawing = pictures.drawn("\x1b[1mname\x1b[0m <one>\n$ two", "a title")
    text = "".join(ET.fromstring(drawing).itertext()).replace("\xa0", " ")
    assert "name" in text
    assert "<one>" in text
    assert "a title" in text
    assert "font-weight: bold" in drawing
    assert not re.search(r"url\((?!#)|href=", drawing)


def test_a_table_of_a_terminal_becomes_one_of_markdown() -> None:
    """For README.md, whose figures are those of the picture."""
    shown = "┏━━━┳━━━┓\n┃   ┃ a ┃\n┡━━━╇━━━┩\n│ n │ 1 │\n└───┴───┘\n"
    assert pictures.table_in(shown) == "| | a |\n|---|--:|\n| n | 1 |"


def test_every_picture_is_on_a_page_and_is_whole() -> None:
    """None is left over when a page changes."""
    pages = "".join(
        page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    )
    found = sorted(pictures.PICTURES.glob("*.svg"))
    assert {path.stem for path in found} >= set(pictures.MADE)
    for path in found:
        assert f"pictures/{path.name})" in pages
        ET.parse(path)
