"""The examples of how state is lost by hand, each with its bug, and the same run with autostate.

The shop stops at a page of which the test knows, and there the run is told to migrate, aborted or
killed. What the platform then has in its dataset and in its log of requests is what counts.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from autostate.testing import LocalPlatform, Run
from autostate.testing.key_value_store import Record
from autostate.testing.traffic import Call, Fault
from examples.patterns.shop import PAGES, PER_PAGE
from tests.peers.forked import ProgramServer

pytestmark = pytest.mark.usefixtures("forked_actors")

ROOT = Path(__file__).parent.parent
PATTERNS = ROOT / "examples" / "patterns"
README = PATTERNS / "README.md"
RECORDS = "*/records/*"
SAVES = "*/records/*[!lmn]"
"""Records with state; not those with which autostate announces a container's first one."""
PUSHES = "*/datasets/*/items"
PROGRAM = """
import runpy, sys
import apify  # first, as an Actor that is a fork has to
runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
"""
PATIENT = PROGRAM.replace("runpy.", "import autostate\nautostate.configure(debounce=3600)\nrunpy.")
"""Runs a program in which nothing is saved because time has passed: only because of an event."""
ALL = list(range(PAGES * PER_PAGE))
"""The ids of all products."""
HALF = list(range(3 * PER_PAGE))
"""Those on the pages before the fourth."""


@dataclass
class Stage:
    """A platform, and a shop that stops at a page.

    Attributes:
        platform: The platform.
        folder: Where the runs work, and where the pipes are at which their shops stop.
    """

    platform: LocalPlatform
    folder: Path

    def start(self, program: str, stops_at: int | None = None) -> Run:
        """Start an example, with a shop that stops at a page, or does not."""
        gate = self.folder / f"gate-{len(self.platform.runs)}"
        os.mkfifo(gate)
        env = {"PYTHONPATH": str(ROOT), "SHOP_GATE": str(gate)}
        if stops_at is not None:
            env["SHOP_STOPS_AT"] = str(stops_at)
        how = PATIENT if program.endswith("after") else PROGRAM
        command = [sys.executable, "-c", how, f"examples.patterns.{program}"]
        return self.platform.start_run(command, cwd=self.folder, env=env)

    def stop(self, program: str, page: int) -> Run:
        """Start an example, and wait until the shop has stopped at a page."""
        run = self.start(program, page)
        run.container.wait_for_output(f", page {page}")
        return run

    def go(self, run: Run) -> int:
        """Let the shop of a run go on as soon as it has stopped, and wait for the run's end."""
        Path(run.env["SHOP_GATE"]).write_text("")
        return run.wait()

    def puts(self, path: str = RECORDS) -> list[Call]:
        """The records written so far."""
        return self.platform.traffic.calls_to("PUT", path)

    def migrate(self, run: Run) -> None:
        """Tell the run to migrate, and kill it as soon as it has saved."""
        run.send("migrating", {"timeRemainingSecs": 60})
        self.platform.traffic.wait_for_calls("PUT", SAVES, applied=True)
        run.kill()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A platform of the test's own."""
    with LocalPlatform() as platform:
        yield Stage(platform, tmp_path)


def goes_on(run: Run) -> int:
    """Let a run go on in a container that ends by itself; give the first page it loaded."""
    run.env.pop("SHOP_STOPS_AT", None)
    if run.status == "ABORTED":
        run.resurrect()
    else:
        run.start_next_container()
    assert run.wait() == 0, run.output
    return int(run.container.wait_for_output(", page ").split()[-1])


def pushed(run: Run) -> list[int]:
    """The ids in the dataset, in their order."""
    return [item["id"] for item in run.dataset.items]


def twice(run: Run) -> list[int]:
    """Those that are there more than once."""
    return sorted(id_ for id_, times in Counter(pushed(run)).items() if times > 1)


def test_key_mismatch_before(stage: Stage) -> None:
    """Saved before the migration, and not found after it: all begins again."""
    run = stage.stop("key_mismatch.before", 4)
    stage.migrate(run)
    assert run.store.get_json("SHOP_STATE") == {"page": 4}
    assert goes_on(run) == 1
    assert twice(run) == HALF


def test_key_mismatch_after(stage: Stage) -> None:
    """The next container goes on with the page at which the first one was told to migrate."""
    run = stage.stop("key_mismatch.after", 4)
    stage.migrate(run)
    assert goes_on(run) == 4
    assert pushed(run) == ALL


def test_seen_left_out_before(stage: Stage) -> None:
    """It goes on with the right page, and pushes what it had seen before."""
    run = stage.stop("seen_left_out.before", 4)
    stage.migrate(run)
    assert goes_on(run) == 4
    assert twice(run) == [4, 5, 6, 7]


def test_seen_left_out_after(stage: Stage) -> None:
    """It goes on with the right page and knows what it has seen."""
    run = stage.stop("seen_left_out.after", 4)
    stage.migrate(run)
    assert goes_on(run) == 4
    assert pushed(run) == list(range(1, PAGES + PER_PAGE))


def fail_push(stage: Stage, nth: int, *, applied: bool) -> Fault:
    """Let a push arrive or not, but not be answered, and none after it arrive."""
    traffic = stage.platform.traffic
    unlucky = traffic.fault("POST", PUSHES, nth=nth, status=503, lose_answer=applied)
    traffic.fault("POST", PUSHES, when=lambda _: unlucky.hits > 0, status=503)  # it is repeated
    return unlucky


def kill_at(fault: Fault, run: Run, stage: Stage) -> None:
    """Kill a run as soon as it has met a fault, and heal the platform."""
    fault.wait_hit()
    run.kill()
    stage.platform.traffic.heal()


def test_cursor_and_output_before(stage: Stage) -> None:
    """The page is saved as done, and its products are lost."""
    third = fail_push(stage, 3, applied=False)
    run = stage.start("cursor_and_output.before")
    kill_at(third, run, stage)
    assert goes_on(run) == 4
    assert pushed(run) == [id_ for id_ in ALL if id_ not in range(10, 15)]


def test_cursor_and_output_before_unsaved(stage: Stage) -> None:
    """The products are pushed, and their pages are not saved as done."""
    run = stage.stop("cursor_and_output.before_unsaved", 4)
    run.kill()
    assert goes_on(run) == 1
    assert twice(run) == HALF


def test_cursor_and_output_after(stage: Stage) -> None:
    """Saved, then killed before a push arrives and after one has: all is there once."""
    run = stage.stop("cursor_and_output.after", 2)
    stage.migrate(run)
    run.env.pop("SHOP_STOPS_AT")
    for nth, applied in ((2, False), (1, True)):
        unlucky = fail_push(stage, nth, applied=applied)
        run.start_next_container()
        kill_at(unlucky, run, stage)
    assert len(pushed(run)) == 3 * PER_PAGE, "one page was saved, two are in the dataset only"
    assert goes_on(run) == 2
    assert pushed(run) == ALL


def test_missed_events_before(stage: Stage) -> None:
    """Aborted gracefully and resurrected, the run begins again."""
    run = stage.stop("missed_events.before", 4)
    run.abort(gracefully=True, notice=1)
    assert goes_on(run) == 1
    assert twice(run) == HALF


def eventful_writes(stage: Stage, program: str, writes: int) -> int:
    """Count what a run writes that is idle for three minutes, then migrates, and then ends."""
    run = stage.stop(program, PAGES + 1)
    for _ in range(3):
        run.persist_state()
    run.send("migrating", {"timeRemainingSecs": 60})
    stage.platform.traffic.wait_for_calls("PUT", RECORDS, count=writes)
    assert stage.go(run) == 0, run.output
    return len(stage.puts())


def test_missed_events_before_twice(stage: Stage) -> None:
    """Three events, two at the migration, two at the end: seven writes of the same page."""
    assert eventful_writes(stage, "missed_events.before_twice", writes=5) == 7
    assert len({call.bytes for call in stage.puts()}) == 1


def test_missed_events_after(stage: Stage) -> None:
    """A graceful abort is survived, and the same events cost one write, and three at first."""
    run = stage.stop("missed_events.after", 4)
    run.send("aborting")
    stage.platform.traffic.wait_for_calls("PUT", SAVES)
    run.abort()
    assert goes_on(run) == 4
    assert pushed(run) == ALL
    before = len(stage.puts())
    assert eventful_writes(stage, "missed_events.after", writes=before + 4) == before + 4


def test_rewritten_history_before(stage: Stage) -> None:
    """As many writes as products, and each one is longer than the one before."""
    run = stage.start("rewritten_history.before")
    assert run.wait() == 0, run.output
    assert [item["id"] for item in run.store.get_json("HISTORY")] == ALL
    assert len(stage.puts()) == len(ALL)
    assert sum(call.bytes for call in stage.puts()) > 10_000


def test_rewritten_history_after(stage: Stage) -> None:
    """A few writes of what was appended; a kill without notice leaves no gap and no repetition."""
    run = stage.stop("rewritten_history.after", 4)
    run.kill()
    goes_on(run)
    assert [item["id"] for item in run.store.get_json("HISTORY")] == ALL
    assert len(stage.puts()) <= 8
    assert sum(call.bytes for call in stage.puts()) < 2_500


def test_swallowed_load_error_before(stage: Stage) -> None:
    """One refused answer, and the Actor begins again and overwrites how far it was."""
    run = stage.stop("swallowed_load_error.before", 4)
    stage.migrate(run)
    saved = stage.puts()
    assert run.store.get_json("STATE") == {"page": 4}
    stage.platform.traffic.fault("GET", "*/records/STATE", status=402)
    run.env["SHOP_STOPS_AT"] = "2"
    run.start_next_container().wait_for_output(", page 2")
    run.persist_state()
    stage.platform.traffic.wait_for_calls("PUT", RECORDS, count=len(saved) + 1)
    run.kill()
    assert run.store.get_json("STATE") == {"page": 2}


def _states(run: Run) -> dict[str, Record]:
    """The records with state; others are removed when that suits the process which made them."""
    records = run.store.records.items()
    return {key: record for key, record in records if not key.endswith(("-claim", "-taken"))}


def test_swallowed_load_error_after(stage: Stage) -> None:
    """While the state cannot be read the run fails; then it goes on as if nothing had been."""
    run = stage.stop("swallowed_load_error.after", 4)
    stage.migrate(run)
    good = _states(run)
    refused = stage.platform.traffic.fault("GET", "*/records/autostate-*", status=402)
    run.start_next_container()
    assert run.wait() != 0
    assert refused.hits
    stage.platform.traffic.heal()
    assert _states(run) == good
    for key, record in good.items():
        run.store.records[key] = replace(record, body=record.body[:-10])
    damaged = _states(run)
    run.start_next_container()
    assert run.wait() != 0
    assert run.store.records.items() >= damaged.items(), "what is damaged stays as it is"
    run.store.records.update(good)
    assert goes_on(run) == 4
    assert pushed(run) == ALL


def test_shared_counter_before(stage: Stage) -> None:
    """Two runs read the same number and both add to it: half of what they counted is lost."""
    runs = [stage.start("shared_counter.before", 4) for _ in range(2)]
    for run in runs:
        run.container.wait_for_output(", page 4")
    assert [stage.go(run) for run in runs] == [0, 0]
    totals = stage.platform.stores.find("totals")
    assert totals is not None
    assert totals.get_json("products") == len(ALL)


def test_shared_counter_after(stage: Stage) -> None:
    """Two runs at once, one of them migrated and resurrected after its end: all is counted once."""
    one, other = (stage.start("shared_counter.after", 4) for _ in range(2))
    one.container.wait_for_output(", page 4")
    stage.migrate(one)
    assert goes_on(one) == 4
    assert goes_on(one) == PAGES + 1
    assert stage.go(other) == 0, other.output
    assert other.store.get_json("OUTPUT") == {"products": 2 * len(ALL)}


def test_overlapping_runs_before(stage: Stage) -> None:
    """The second run begins while the first one is on its way, and pushes the same."""
    one = stage.stop("overlapping_runs.before", 4)
    other = stage.start("overlapping_runs.before")
    assert other.wait() == 0, other.output
    assert stage.go(one) == 0, one.output
    assert pushed(one) == pushed(other) == ALL


def test_overlapping_runs_after(stage: Stage) -> None:
    """The second run begins where the first one is, and is killed; the first one knows it all."""
    one = stage.stop("overlapping_runs.after", 4)
    other = stage.stop("overlapping_runs.after", 6)
    other.kill()
    assert goes_on(other) == 1
    assert stage.go(one) == 0, one.output
    assert pushed(one) + pushed(other) == ALL


def test_readme_lists_each_program_and_each_has_its_test() -> None:
    """The table has a line for each before and after, and nothing else."""
    rows = re.findall(r"^\| (?:`(\w+)`)? ?\| `(\w+)` \|", README.read_text(), re.MULTILINE)
    listed, folder = set(), ""
    for name, file in rows:
        folder = name or folder
        listed.add(f"{folder}/{file}")
    there = {f"{each.parent.name}/{each.stem}" for each in PATTERNS.glob("*/[ab]*.py")}
    assert listed == there
    assert all(f"test_{each.replace('/', '_')}" in globals() for each in there)


def test_each_after_runs_on_your_own_machine(tmp_path: Path, program_server: ProgramServer) -> None:
    """Off the platform too, with nothing configured."""
    processes = []
    for after in sorted(PATTERNS.glob("*/after.py")):
        folder = tmp_path / after.parent.name
        folder.mkdir()
        command = [sys.executable, "-c", PROGRAM, f"examples.patterns.{after.parent.name}.after"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        processes.append(program_server.popen(command, cwd=folder, env=env))
    for process in processes:
        with process.stdout:
            output = process.stdout.read()
        assert process.wait() == 0, output
