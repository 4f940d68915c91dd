"""The pictures of terminals in the documentation: `make pictures` runs the programs, and draws.

Each program runs on a terminal of its own. What it prints is drawn as text in an SVG, which needs
no font from elsewhere. `python -m docs.site.pictures loop look` makes some of them.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from docs.site.sources import ROOT

PICTURES: Final = ROOT / "docs" / "pictures"
COLUMNS: Final = 88
SEED: Final = 7

_FONTS: Final = re.compile(r"\s*@font-face \{\{.*?\}\}", re.DOTALL)
_FORMAT: Final = (
    _FONTS.sub("", CONSOLE_SVG_FORMAT)
    .replace("Fira Code, monospace", "ui-monospace, Menlo, 'DejaVu Sans Mono', monospace")
    .replace("font-family: arial", "font-family: system-ui, sans-serif")
)
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

PROGRAM: Final = """\
import time

import autostate
from autostate import PersistedDict

prices = PersistedDict("prices")
total = PersistedDict("total", pages=0, price=0)
for page in autostate.resume("pages", range(1, 21), progress=False):
    time.sleep(0.1)  # fetch the page
    prices[f"product {page}"] = page * 10
    total["pages"] += 1
    total["price"] += page * 10
    print(f"page {page}: {len(prices)} prices, {total['price']} in all", flush=True)
"""


def output_of(
    command: Sequence[str], folder: Path, *, columns: int = COLUMNS, kill_after: str | None = None
) -> str:
    """Run a program on a terminal, and give what it has printed.

    Args:
        command: The program, and its arguments.
        folder: Where it runs.
        columns: The width of the terminal.
        kill_after: A text; when it was printed, the program is killed.

    Raises:
        RuntimeError: The program has failed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    known = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    environment = {name: known[name] for name in known if name not in {"NO_COLOR", "COLUMNS"}}
    process = subprocess.Popen(  # noqa: S603 - its own programs
        command, cwd=folder, env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    output = b""
    try:
        while data := _read(ours):
            output += data
            if kill_after is not None and kill_after in output.decode(errors="replace"):
                process.kill()
    finally:
        os.close(ours)
        code = process.wait()
    text = output.decode().replace("\r\n", "\n")
    if code != (0 if kill_after is None else -signal.SIGKILL):
        raise RuntimeError(f"{command} has ended with {code}:\n{text}")
    return text


def _read(terminal: int) -> bytes:
    """Read what is there; nothing at the end, which Linux calls an error."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def drawn(output: str, title: str, *, columns: int = COLUMNS) -> str:
    """Draw what a terminal shows, as an SVG."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(output.rstrip("\n")), soft_wrap=False)
    named = re.sub(r"\W+", "-", title)
    return console.export_svg(title=title, code_format=_FORMAT, unique_id=named)


def table_in(output: str) -> str:
    """Give the table that rich has drawn, in Markdown."""
    lines = [_ESCAPES.sub("", line).strip() for line in output.splitlines()]
    cells = [re.split("[│┃]", line)[1:-1] for line in lines if line.startswith(("│", "┃"))]
    head, *rows = [f"| {' | '.join(cell.strip() for cell in row)} |" for row in cells]
    marks = "|".join(["---", *["--:"] * (len(cells[0]) - 1)])
    return "\n".join([head.replace("|  |", "| |"), f"|{marks}|", *rows])


def _loop() -> None:
    """A loop that is killed, and goes on."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        (folder / "crawl.py").write_text(PROGRAM)
        shown = ""
        for until in ("page 5:", None):
            shown += "$ python crawl.py\n"
            shown += output_of([sys.executable, "crawl.py"], folder, kill_after=until)
            shown += "" if until is None else "Killed\n"
    lines = shown.splitlines()
    shown = "\n".join([*lines[:14], "…", *lines[-2:]])
    (PICTURES / "loop.svg").write_text(drawn(shown, "kill -9, and again"))


def _look() -> None:
    """The commands that look."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        (folder / "crawl.py").write_text(PROGRAM)
        output_of([sys.executable, "crawl.py"], folder)
        shown = ""
        for arguments in (["ls"], ["show", "total"], ["get", "prices", "product 3"], ["doctor"]):
            shown += f"$ autostate {' '.join(a if ' ' not in a else repr(a) for a in arguments)}\n"
            shown += output_of([sys.executable, "-m", "autostate", *arguments], folder)
        shown = shown.replace(str(folder), "/home/me/shop")
    (PICTURES / "look.svg").write_text(drawn(shown, "autostate"))


def _demo() -> None:
    """The demo, and its table in README.md."""
    command = [sys.executable, "-m", "examples.crawl.demo", "--seed", str(SEED)]
    shown = output_of(command, ROOT)
    (PICTURES / "demo.svg").write_text(
        drawn(f"$ make demo ARGS='--seed {SEED}'\n{shown}", "make demo")
    )
    page = ROOT / "README.md"
    text = page.read_text(encoding="utf-8")
    begin, end = "<!-- written by make pictures -->\n", "<!-- until here -->"
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{begin}{table_in(shown)}\n{end}{after}", encoding="utf-8")


MADE: Final[dict[str, Callable[[], None]]] = {"loop": _loop, "look": _look, "demo": _demo}


def main(names: Sequence[str]) -> None:
    """Make the pictures that are named, or all."""
    for name in names or MADE:
        MADE[name]()
        sys.stdout.write(f"{PICTURES / name}.svg\n")


if __name__ == "__main__":
    main(sys.argv[1:])
