"""The progress of loops: drawn on a real terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path
from typing import IO

import pytest

from tests.programs import run

pytestmark = pytest.mark.usefixtures("forked_programs")

ROOT = Path(__file__).parent.parent

SHOWN = """
import sys
import autostate
for number in autostate.resume("pages [red]", range(40), progress=True):
    if number == 30 and "stop" in sys.argv:
        print("stopped at", number)
        break
"""
SILENT = "import sys; print('rich' in sys.modules, file=sys.stderr)"


def on_terminal(program: str, *arguments: str, stdout: int | IO[str] | None = None) -> str:
    """Run a program whose standard error is a terminal; give what it writes there."""
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 120))
    command = [sys.executable, "-c", program, *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    try:
        process = subprocess.Popen(
            command, stdout=child if stdout is None else stdout, stderr=child, env=environ
        )
        os.close(child)
        written = b""
        while True:
            try:
                chunk = os.read(parent, 65536)
            except OSError:  # all its ends are closed
                break
            if not chunk:
                break
            written += chunk
        assert process.wait() == 0, written.decode()
    finally:
        os.close(parent)
    return written.decode()


def plain(text: str) -> str:
    """Without the codes that move the cursor and set colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_progress_is_shown_and_goes_on() -> None:
    """What was done in the process before is shown as done; the name as it is."""
    first = plain(on_terminal(SHOWN, "stop"))
    assert "pages [red]" in first
    assert " 0/40" in first
    assert "30/40" in first
    assert " 75%" in first
    assert "40/40" not in first
    assert "stopped at 30" in first
    second = plain(on_terminal(SHOWN))
    assert " 0/40" not in second
    assert "30/40" in second
    assert "40/40" in second


def test_a_file_is_shown_by_bytes(tmp_path: Path) -> None:
    """A share and the time that is left, of which lines alone say nothing; it goes on, too."""
    (tmp_path / "lines.txt").write_text("".join(f"{at:07d}\n" for at in range(1_000)))
    program = f"""
import sys, time
import autostate
with open({str(tmp_path / "lines.txt")!r}) as file:
    for line in autostate.resume("lines", file, progress=True):
        if line == "0000500\\n" and "stop" in sys.argv:
            time.sleep(0.11)  # until it is drawn again
        if line == "0000600\\n" and "stop" in sys.argv:
            break
"""
    first = plain(on_terminal(program, "stop"))
    assert " 50%" in first
    assert "501/?" in first
    second = plain(on_terminal(program))
    assert "600/?" in second
    assert "1000/?" in second
    assert re.search(r"100% *1000/\? .*0:00:\d\d +0:00:00", second)


def test_the_cursor_is_shown_again_however_the_loop_ends() -> None:
    """It is hidden while the display is drawn."""
    for ending in ("break", "raise ZeroDivisionError", "sys.exit()", "continue"):
        program = f"""
import sys
import autostate
try:
    for number in autostate.resume("pages", range(9), progress=True):
        if number == 5:
            {ending}
except ZeroDivisionError:
    pass
"""
        written = on_terminal(program)
        assert "\x1b[?25l" in written
        assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l"), ending


def test_the_cursor_is_shown_again_after_an_asynchronous_loop_was_left() -> None:
    """When it is left, not when the process ends."""
    program = """
import asyncio
import autostate
async def numbers():
    for number in range(9):
        yield number
async def main():
    async for number in autostate.resume("pages", numbers(), progress=True):
        if number == 5:
            break
    print("left", flush=True)
asyncio.run(main())
"""
    written = on_terminal(program)
    assert "\x1b[?25h" in written[: written.index("left")]


def test_inner_loops_are_lines_that_disappear() -> None:
    """One display for all loops; an unknown total is no problem."""
    program = """
import autostate
for shop in autostate.resume("shops", "ab", progress=True):
    for page in autostate.resume("pages", iter(range(3)), progress=True, total=7):
        for product in autostate.resume("products", iter(range(2)), progress=True):
            pass
"""
    written = plain(on_terminal(program))
    assert "3/7" in written
    assert "2/?" in written
    last = written.rstrip().splitlines()[-1]
    assert "shops" in last
    assert "2/2" in last


def test_what_is_printed_goes_where_it_would_go(tmp_path: Path) -> None:
    """To the file that standard output is, not to the terminal."""
    with (tmp_path / "out.txt").open("w") as out:
        written = on_terminal(SHOWN, "stop", stdout=out)
    assert (tmp_path / "out.txt").read_text() == "stopped at 30\n"
    assert "stopped" not in written


def test_by_default_a_short_loop_shows_nothing() -> None:
    """Rich is loaded when there is something to show."""
    program = "import autostate; list(autostate.resume('pages', range(9)))"
    assert on_terminal(f"{program}; {SILENT}").strip() == "False"


def test_by_default_a_long_loop_is_shown() -> None:
    """From half a second on; `progress=False` keeps it silent."""
    program = """
import autostate, time
def numbers():
    end = time.monotonic() + 0.8
    yield 0
    while time.monotonic() < end:
        yield 1
for _ in autostate.resume("pages", numbers(){}):
    pass
"""
    assert "pages" in plain(on_terminal(program.format("")))
    assert on_terminal(program.format(", progress=False")) == ""


def test_nothing_is_shown_where_there_is_no_terminal() -> None:
    """Also if it was asked for."""
    ran = run(f"{SHOWN}\n{SILENT}")
    assert (ran.stdout, ran.stderr, ran.returncode) == ("", "False\n", 0)


def test_a_missing_rich_names_the_extra() -> None:
    """But only if the progress was asked for."""
    missing = "import sys; sys.modules['rich'] = None\n"
    ran = run(missing + SHOWN)
    assert "ImportError: progress=True needs rich: pip install 'autostate[progress]'" in ran.stderr
    written = on_terminal(missing + SHOWN.replace("progress=True", "progress=None"))
    assert written == ""


@pytest.mark.parametrize("broken", ["start", "update", "stop", "add_task"])
def test_a_display_that_fails_does_not_break_the_loop(broken: str) -> None:
    """Whatever goes wrong in it, the loop goes on without it."""
    program = f"""
import rich.progress
import autostate
def fail(*args, **kwargs):
    raise OSError("the terminal is gone")
rich.progress.Progress.{broken} = fail
print(list(autostate.resume("pages", range(5), progress=True)))
"""
    assert "[0, 1, 2, 3, 4]" in plain(on_terminal(program))
