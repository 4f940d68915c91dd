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
from autostate import AutostateError, FencedError, PersistedDict, StoreUnavailableError, logs
from autostate.testing import LocalPlatform
from tests.actor_runs import PRELUDE, starter
from tests.faulty import FaultyStore, Step

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
    logs.logger.disabled = logs.saves.disabled = False
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


def records(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    """The attributes of the lines about an event, without their prefix."""
    return [
        {name[10:]: value for name, value in vars(record).items() if name.startswith("autostate_")}
        for record in caplog.records
        if getattr(record, "autostate_event", None) == event
    ]


def test_lines_have_attributes_for_programs(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Names, sizes and durations; no value of the program, at any level."""
    caplog.set_level(logging.DEBUG, "autostate")
    url = f"sqlite:///{isolated}/s.db"
    for _ in range(2):
        with autostate.open(url):
            PersistedDict("shop")["token"] = "hunter2"
    saved = records(caplog, "saved")
    assert saved
    assert all(each["store"] == url and each["entries"] for each in saved)
    assert all(isinstance(each["duration"], float) and each["bytes"] for each in saved)
    [made], [restored] = records(caplog, "made"), records(caplog, "restored")
    assert made == {
        "event": "made",
        "name": "shop",
        "kind": "dict",
        "store": url,
        "downtime": None,
    }
    assert isinstance(restored["downtime"], float)
    state = PersistedDict("state")
    state["lock"] = threading.Lock()
    with pytest.raises(autostate.UnsupportedTypeError):
        autostate.flush()
    [unsavable] = records(caplog, "value_not_saved")
    assert unsavable["path"] == 'state["lock"]'
    told = "".join(f"{vars(record)}" for record in caplog.records)
    assert "hunter2" not in told
    del state["lock"]


def test_saves_are_told_at_debug_alone(isolated: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By a logger of their own, which can be silenced."""
    caplog.set_level(logging.INFO, "autostate")
    with autostate.open("memory:"):
        PersistedDict("d", a=1)
    assert caplog.messages == []
    caplog.set_level(logging.DEBUG, "autostate")
    caplog.set_level(logging.INFO, "autostate.saves")
    with autostate.open("memory:"):
        PersistedDict("d", a=1)
    assert not records(caplog, "saved") + records(caplog, "made")


def test_a_failure_has_attributes_too(isolated: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And so has the line that it is over."""
    troubles = [StoreUnavailableError("hunter2")]

    def on_step(step: Step) -> None:
        if step.writes and troubles:
            raise troubles.pop()
        step.apply()

    with autostate.open(FaultyStore({}, on_step)):
        PersistedDict("d", a=1)
        autostate.flush()
    [failed], [works] = records(caplog, "saving_failed"), records(caplog, "saving_works")
    assert (failed["failures"], failed["error"]) == (1, "StoreUnavailableError")
    assert works["failures"] == 1


def test_every_event_is_documented() -> None:
    """With its attributes, and no other is."""
    root = Path(__file__).parent.parent
    code = "".join(path.read_text() for path in (root / "autostate").rglob("*.py"))
    used = set(re.findall(r'logs\.attributes\(\s*"(\w+)"', code)) | {"made"}
    page = (root / "docs" / "monitoring.md").read_text()
    assert used == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


class Raising(logging.Handler):
    """A handler that is broken, as one that sends lines over a network may be."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note the line, and raise."""
        self.events.append(getattr(record, "autostate_event", ""))
        raise RuntimeError("broken")


@pytest.fixture
def raising() -> Iterator[Raising]:
    """A handler of all lines that raises."""
    made, level = Raising(), logs.saves.level
    logs.logger.addHandler(made)
    logs.saves.setLevel(logging.DEBUG)
    yield made
    logs.logger.removeHandler(made)
    logs.saves.setLevel(level)


def test_a_handler_that_raises_is_in_nobodys_way(
    isolated: Path, raising: Raising, capsys: pytest.CaptureFixture[str]
) -> None:
    """A save succeeds, a failure is tried again, a takeover ends writing; it is told."""
    errors: list[type[Exception]] = [StoreUnavailableError, StoreUnavailableError]

    def refuse(step: Step) -> None:
        if step.writes and errors:
            raise errors.pop()
        step.apply()

    with pytest.raises(AutostateError), autostate.open(FaultyStore({}, refuse)) as manager:
        state = PersistedDict("d", a=1)
        autostate.flush()
        assert manager.statistics().flushes == 1
        errors.append(FencedError)
        state["a"] = 2
        with pytest.raises(FencedError):
            autostate.flush()
        with pytest.raises(FencedError):
            state["a"] = 3
    assert {"made", "saved", "saving_failed", "saving_works", "fenced"} <= {*raising.events}
    assert "--- Logging error ---" in capsys.readouterr().err
