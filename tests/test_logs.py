"""What the library logs is heard, and looks in an Actor like what the SDK logs."""

from __future__ import annotations

import logging
import logging.config
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import autostate
from autostate import PersistedDict, logs
from autostate.testing import LocalPlatform
from tests.actor_runs import PRELUDE, starter

pytestmark = pytest.mark.usefixtures("forked_actors")

LINES = """
        import logging
        async with Actor:
            for log in (logging.getLogger("autostate"), Actor.log):
                log.info("an INFO line")
                log.warning("a WARNING line")
                log.debug("a DEBUG line")
"""
OURS = "import autostate\nfrom autostate import PersistedDict\n"
IMPORT = f"{PRELUDE}\n{OURS}"


@pytest.fixture
def heard_again() -> Iterator[None]:
    """Logging as it was before the test."""
    yield
    logs.logger.disabled = False
    logging.disable(logging.NOTSET)


def lines(output: str, logger: str) -> list[str]:
    """The lines of a logger, without its name and colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    return [each.replace(f"[{logger}]", "") for each in plain.splitlines() if f"[{logger}]" in each]


@pytest.mark.parametrize(
    "imports", [IMPORT, OURS + PRELUDE], ids=["apify first", "autostate first"]
)
def test_lines_in_an_actor_look_like_those_of_the_sdk(tmp_path: Path, imports: str) -> None:
    """Each level, once, and the levels that the SDK shows."""
    with LocalPlatform() as platform:
        run = starter(platform, tmp_path, imports)(LINES)
        assert run.wait() == 0, run.output
    ours = [line for line in lines(run.output, "autostate") if "line" in line]
    theirs = [line for line in lines(run.output, "apify") if "line" in line]
    assert ours == theirs
    assert len(ours) == 2


def test_debug_lines_come_with_those_of_the_sdk(tmp_path: Path) -> None:
    """The level that its owner sets in the Console."""
    with LocalPlatform() as platform:
        start = starter(platform, tmp_path, IMPORT)
        run = start(LINES, env={"APIFY_LOG_LEVEL": "DEBUG"})
        assert run.wait() == 0, run.output
    assert [line for line in lines(run.output, "autostate") if "a DEBUG line" in line]


def test_whoever_sets_up_the_root_hears_each_line_once(tmp_path: Path) -> None:
    """As for any library; also where that happens inside of the Actor."""
    body = LINES.replace(
        "for log", "logging.basicConfig(format='mine: %(name)s %(message)s')\n            for log"
    )
    with LocalPlatform() as platform:
        run = starter(platform, tmp_path, IMPORT)(body)
        assert run.wait() == 0, run.output
    heard = [line for line in run.output.splitlines() if "autostate" in line and "line" in line]
    assert heard == ["mine: autostate an INFO line", "mine: autostate a WARNING line"]


@pytest.mark.parametrize(
    "configured",
    [
        "logging.getLogger('autostate').setLevel(logging.ERROR)",
        "logging.getLogger('autostate').addHandler(logging.NullHandler())",
        "logging.getLogger('autostate').propagate = False",
    ],
)
def test_what_the_program_has_configured_stays(tmp_path: Path, configured: str) -> None:
    """Its own handler, level or way up the tree."""
    with LocalPlatform() as platform:
        run = starter(platform, tmp_path, f"{PRELUDE}\nimport logging\n{configured}\n{OURS}")(LINES)
        assert run.wait() == 0, run.output
    assert not lines(run.output, "autostate")


def test_disabling_existing_loggers_does_not_hide_what_is_dropped(
    isolated: Path, heard_again: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default of `dictConfig`, after the import."""
    root = {"level": "WARNING", "handlers": ["stderr"]}
    handlers = {"stderr": {"class": "logging.StreamHandler"}}
    logging.config.dictConfig({"version": 1, "handlers": handlers, "root": root})
    assert logs.logger.disabled
    with pytest.raises(autostate.UnsupportedTypeError), autostate.open("sqlite:///s.db") as manager:
        PersistedDict("a")["lock"] = threading.Lock()
        manager.flush()
    told = capsys.readouterr().err
    assert 'a["lock"]' in told
    assert told.count("disable_existing_loggers=False") == 1
