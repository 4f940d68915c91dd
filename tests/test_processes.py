"""Several processes and one state: one owns it, and every other one is told before it writes.

Each situation of `docs/processes.md` is a test here, in real processes.
"""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autostate.journal import Journal
from autostate.stores.sqlite import SqliteStore
from autostate.testing import LocalPlatform
from tests.peers.forked import ProgramServer

ROOT = Path(__file__).parent.parent
WAIT = 60.0
HEADER = """
import os, signal, sys, time, warnings
import autostate
from autostate import PersistedCounter, PersistedDict, PersistedSet

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

def say(*words):
    print(*words, flush=True)
"""
JOB = """
progress = PersistedDict("progress", page=0)
progress["page"] += 1
autostate.flush()
say("works")
sys.stdin.readline()
progress["page"] += 1
"""


class Processes:
    """Programs in one folder; forks of a server."""

    def __init__(self, folder: Path, server: ProgramServer) -> None:
        self.folder = folder
        self._server = server
        self._started: list[subprocess.Popen[str]] = []
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("AUTOSTATE_")}
        self.env["PYTHONPATH"] = str(ROOT)

    def write(self, code: str, name: str = "job.py") -> str:
        """Write a program."""
        (self.folder / name).write_text(HEADER + textwrap.dedent(code))
        return name

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start Python with these arguments."""
        process: subprocess.Popen[str] = self._server.popen(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def run(self, *command: str, **env: str) -> tuple[int, str, str]:
        """Run Python to its end: exit code, output, errors."""
        process = self.start(*command, **env)
        output, error = process.communicate(timeout=WAIT)
        return process.returncode, output, error

    def close(self) -> None:
        """End what is left."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):  # children may live on
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def processes(isolated: Path, forked_programs: ProgramServer) -> Iterator[Processes]:
    """Programs in the test's folder."""
    made = Processes(isolated, forked_programs)
    yield made
    made.close()


def hear(process: subprocess.Popen[str], word: str) -> None:
    """Wait until a program has said something."""
    assert process.stdout is not None
    heard = []
    for line in process.stdout:
        heard.append(line)
        if word in line:
            return
    pytest.fail(f"it never said {word!r} but {heard}, and {process.communicate()[1]}")


def tell(process: subprocess.Popen[str], word: str = "go on") -> None:
    """Send a program a line."""
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Let a program that waits for a line go on to its end."""
    output, error = process.communicate("go on\n", timeout=WAIT)
    return process.returncode, output, error


def stored(name: str = "progress", path: str = ".autostate/job.db") -> Any:
    """What the next run would find."""
    return next((node.content for node in recovered(path) if node.name == name), None)


def recovered(path: str = ".autostate/job.db") -> list[Any]:
    """The nodes that the next run would find."""
    store = SqliteStore(path)
    try:
        return list(Journal(store).recover().nodes.values())
    finally:
        store.close()


# -- one after another ------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_ended_can_be_started_again_at_once(
    processes: Processes, how: signal.Signals
) -> None:
    """Whatever ended it."""
    job = processes.write(JOB)
    first = processes.start(job)
    hear(first, "works")
    first.send_signal(how)
    second = processes.start(job)
    hear(second, "works")
    first.communicate(timeout=WAIT)
    assert end(second)[0] == 0
    assert stored() == {"page": 3}


def test_a_killed_run_is_started_again_while_its_children_live_on(processes: Processes) -> None:
    """Children of a fork do not keep what their parent owned."""
    job = processes.write(
        """
        progress = PersistedDict("progress", page=0)
        progress["page"] += 1
        autostate.flush()
        if "child" in sys.argv and not os.fork():
            say("works")
            time.sleep(600)
        if "child" not in sys.argv:
            sys.exit()
        time.sleep(600)
        """
    )
    first = processes.start(job, "child")
    hear(first, "works")
    first.kill()
    first.wait(WAIT)
    assert processes.run(job) == (0, "", "")
    assert stored() == {"page": 2}
    os.killpg(first.pid, signal.SIGKILL)


# -- at the same time -------------------------------------------------------------------------


def test_the_same_program_twice(processes: Processes) -> None:
    """A cron job overlaps itself: the second run ends with 75 and one line; the first saves on."""
    job = processes.write(JOB)
    first = processes.start(job)
    hear(first, "works")
    code, output, error = processes.run(job)
    assert (code, output) == (75, "")
    assert error.count("\n") == 1
    assert error.startswith("autostate: the state in sqlite:///")
    assert f"process {first.pid} (job.py), since " in error
    assert "last saved" in error
    for way in ("wait_for_owner", "AUTOSTATE_URL", "readonly=True", "takeover=True"):
        assert way in error
    assert end(first) == (0, "", "")
    assert stored() == {"page": 2}
    assert processes.run(job)[0] == 0
    assert stored() == {"page": 4}


def test_the_same_program_twice_with_the_sdks_folder(processes: Processes) -> None:
    """Its store is a folder that does not exist at first."""
    job = processes.write("autostate.configure('apify:jobs')\n" + JOB)
    first = processes.start(job)
    hear(first, "works")
    code, _, error = processes.run(job)
    assert code == 75
    assert f"process {first.pid} (job.py)" in error
    assert end(first) == (0, "", "")
    assert processes.run(job) == (0, "works\n", "")


def test_a_program_may_wait_for_the_owner_to_end(processes: Processes) -> None:
    """As long as it was told to; and for one that has begun to end without being told."""
    job = processes.write("from autostate.runtime import claim; claim.TELLING = 0\n" + JOB)
    first = processes.start(job)
    hear(first, "works")
    second = processes.start(job, AUTOSTATE_WAIT_FOR_OWNER="60")
    assert second.stderr is not None
    assert f"process {first.pid} (job.py)" in (told := second.stderr.readline())
    assert ": its end is waited for, 60 s more" in told
    assert end(first)[0] == 0
    hear(second, "works")
    assert end(second) == (0, "", "")
    assert stored() == {"page": 4}


def test_a_program_that_waits_for_the_owner_ends_by_sigterm(processes: Processes) -> None:
    """Whoever waits for an hour is not killed for that."""
    job = processes.write("from autostate.runtime import claim; claim.TELLING = 0\n" + JOB)
    first = processes.start(job)
    hear(first, "works")
    second = processes.start(job, AUTOSTATE_WAIT_FOR_OWNER="3600")
    assert second.stderr is not None
    assert "its end is waited for" in second.stderr.readline()
    second.send_signal(signal.SIGTERM)
    assert second.wait(WAIT) == -signal.SIGTERM
    assert end(first) == (0, "", "")
    assert stored() == {"page": 2}


def test_an_owner_that_has_begun_to_end_is_waited_for(processes: Processes) -> None:
    """SIGTERM and a new start follow each other closely where programs are deployed."""
    job = processes.write(
        """
        import atexit
        progress = PersistedDict("progress", page=0)
        progress["page"] += 1
        @autostate.hub.shutdown.connect
        def end(sender, **rest):
            say("ends")
            time.sleep(1)
        say("works")
        if "first" in sys.argv:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(600)
        """
    )
    first = processes.start(job, "first")
    hear(first, "ends")
    code, _, error = processes.run(job)
    assert (code, error) == (0, "")
    assert first.wait(WAIT) == -signal.SIGTERM
    assert stored() == {"page": 2}


def test_a_program_may_take_over(processes: Processes) -> None:
    """The one from which it took is told at its next write at the latest, and by whom."""
    job = processes.write(
        """
        progress = PersistedDict("progress", page=0)
        progress["page"] += 1
        autostate.flush()
        say("works")
        sys.stdin.readline()
        progress["page"] += 1
        try:
            autostate.flush()
        except autostate.FencedError as error:
            say("fenced", error)
            try:
                progress["page"] = 0
            except autostate.FencedError:
                say(dict(progress))
        """
    )
    first = processes.start(job)
    hear(first, "works")
    second = processes.start(job, AUTOSTATE_TAKEOVER="yes")
    hear(second, "works")
    third_code, _, third_error = processes.run(job)
    assert third_code == 75
    assert f"process {second.pid} " in third_error
    code, output, error = end(first)
    assert code == 74, error  # it has changed something since
    assert "fenced a later process" in output
    assert f"process {second.pid} (job.py)" in output
    assert "{'page': 2}" in output
    assert f"process {second.pid} (job.py)" in error
    assert end(second)[0] == 0
    assert stored() == {"page": 3}


def test_an_owner_that_stands_still_in_the_midst_of_a_commit(processes: Processes) -> None:
    """It was stopped, or the disk hangs: who cannot read the state is told whose it is."""
    job = processes.write(
        """
        import sqlite3
        progress = PersistedDict("progress", page=0)
        progress["page"] += 1
        autostate.flush()
        database = sqlite3.connect(".autostate/job.db", isolation_level=None)
        database.execute("BEGIN EXCLUSIVE")
        say("works")
        sys.stdin.readline()
        database.close()
        """
    )
    first = processes.start(job)
    hear(first, "works")
    code, _, error = processes.run(job, AUTOSTATE_FLUSH_TIMEOUT="0.5")
    assert code == 75
    assert f"belongs to process {first.pid} (job.py)" in error
    assert end(first) == (0, "", "")


def test_an_owner_that_saves_again_and_again_is_taken_over(processes: Processes) -> None:
    """It is kept from writing first: the state would never stand still."""
    job = processes.write(
        """
        progress = PersistedDict("progress", page=0)
        say("works")
        try:
            while "first" in sys.argv:
                progress["page"] += 1
                autostate.flush()
        except autostate.FencedError as error:
            say("fenced at", progress["page"])
            os._exit(0)
        progress["taken"] = progress["page"]
        """
    )
    first = processes.start(job, "first")
    hear(first, "works")
    code, _, error = processes.run(job, AUTOSTATE_TAKEOVER="yes")
    assert (code, error) == (0, "")
    output, _ = first.communicate(timeout=WAIT)
    found = stored()
    assert found["taken"] == found["page"]
    # The last one may have been under way: it was not acknowledged.
    assert int(output.split()[-1]) - found["page"] in (0, 1)


def test_a_fenced_process_may_end_at_once(processes: Processes) -> None:
    """With 75, for whoever starts it again."""
    job = processes.write(
        """
        autostate.configure(on_fenced="exit")
        progress = PersistedDict("progress", page=0)
        progress["page"] += 1
        autostate.flush()
        say("works")
        sys.stdin.readline()
        progress["page"] += 1
        time.sleep(600)
        """
    )
    first = processes.start(job)
    hear(first, "works")
    second = processes.start(job, AUTOSTATE_TAKEOVER="yes")
    hear(second, "works")
    tell(first)
    assert first.wait(WAIT) == 75


def test_two_programs_in_one_folder(processes: Processes) -> None:
    """Each has a store of its own."""
    one, other = processes.write(JOB), processes.write(JOB, "other.py")
    first, second = processes.start(one), processes.start(other)
    hear(first, "works")
    hear(second, "works")
    assert end(first)[0] == end(second)[0] == 0
    assert stored() == stored(path=".autostate/other.db") == {"page": 2}


def test_two_programs_of_one_name_in_two_folders(processes: Processes) -> None:
    """Started from one working directory: each has a store of its own."""
    for folder in ("one", "other"):
        (processes.folder / folder).mkdir()
        first = processes.start(processes.write(JOB, f"{folder}/job.py"))
        assert end(first)[:2] == (0, "works\n")
    assert stored(path=".autostate/one.job.db") == {"page": 2}
    assert stored(path=".autostate/other.job.db") == {"page": 2}


def test_a_renamed_program_is_told_where_its_state_is(processes: Processes) -> None:
    """It begins anew, and says once which store has a state object of that name."""
    code = "progress = PersistedDict('progress', page=0); progress['page'] += 1"
    assert processes.run(processes.write(code)) == (0, "", "")
    code += "; other = PersistedDict('other', x=1)"
    exit_code, _, error = processes.run(processes.write(code, "crawl.py"))
    assert exit_code == 0
    assert error.count("\n") == 1
    assert "'progress' is new and empty" in error
    assert f"AUTOSTATE_URL=sqlite:///{processes.folder / '.autostate' / 'job.db'}" in error
    assert processes.run("crawl.py") == (0, "", "")  # it is there now
    code = "import apify; progress = PersistedDict('progress', page=0)"
    exit_code, _, error = processes.run(processes.write(code))
    assert exit_code == 0
    assert "'progress' is new and empty in the storage of an Actor" in error
    assert f"AUTOSTATE_URL=sqlite:///{processes.folder / '.autostate'}" in error
    assert processes.run(processes.write("PersistedDict('mine')", "b.py")) == (0, "", "")


def test_a_look_from_a_shell_beside_a_job(processes: Processes) -> None:
    """It has a store of its own; on that of the job it can look, and is refused to create."""
    job = processes.write(JOB)
    first = processes.start(job)
    hear(first, "works")
    look = HEADER + "say(dict(PersistedDict('progress')))"
    code, output, error = processes.run("-c", look)
    assert (code, output) == (0, "{}\n")
    assert "job.db holds a state object of that name" in error
    url = "sqlite:///.autostate/job.db"
    code, output, error = processes.run("-c", look, AUTOSTATE_URL=url)
    assert (code, output) == (75, "")
    assert "job.py" in error
    code, output, _ = processes.run("-c", look, AUTOSTATE_URL=url, AUTOSTATE_READONLY="1")
    assert (code, output) == (0, "{'page': 1}\n")
    assert end(first) == (0, "", "")
    assert stored() == {"page": 2}


# -- children ---------------------------------------------------------------------------------

CHILDREN = """
import multiprocessing, concurrent.futures
progress = PersistedDict("progress", page=1, seen=[])
plain = PersistedDict("plain", held=[])

def work(number):
    before = repr(progress)
    writes = {
        "item": lambda: progress.__setitem__("page", number),
        "nested": lambda: progress["seen"].append(number),
        "root": lambda: PersistedSet("others").add(number),
    }
    told = []
    for name, write in writes.items():
        try:
            write()
        except autostate.StateInUseError as error:
            told.append(name if f"process {os.getppid()} " in str(error) or METHOD == "forkserver"
                        else str(error))
    autostate.flush()
    return told, repr(progress) == before, dict(progress)

METHOD = sys.argv[1]
if __name__ == "__main__":
    autostate.flush()
    with concurrent.futures.ProcessPoolExecutor(
        2, multiprocessing.get_context(METHOD)
    ) as pool:
        for found in pool.map(work, range(4)):
            assert found == (["item", "nested", "root"], True, {"page": 1, "seen": []}), found
    progress["page"] = 2
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_read_and_are_refused_to_write(
    processes: Processes, method: str
) -> None:
    """The first write raises before anything has changed; the parent saves on."""
    code, output, error = processes.run(processes.write(CHILDREN), method)
    assert (code, output, error) == (0, "", "")
    assert stored() == {"page": 2, "seen": []}


@pytest.mark.parametrize("url", [None, "sqlite:///.autostate/job.db"])
@pytest.mark.parametrize("created", ["before", "after", "never"])
def test_what_the_fork_server_has_imported_belongs_to_the_program(
    processes: Processes, created: str, url: str | None
) -> None:
    """A module with state objects that is preloaded; the program imports it before, or after."""
    (processes.folder / "states.py").write_text(
        "import autostate\n"
        "progress = autostate.PersistedDict('progress', page=0)\n"
        "store = autostate.configure().url\n"
    )
    job = processes.write(
        """
        import multiprocessing
        def work():
            from states import progress, store
            say(os.path.basename(store), dict(progress))
            try:
                progress["page"] += 1
                autostate.flush()
                say("saved")
            except autostate.StateInUseError:
                say("refused")
        if __name__ == "__main__":
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["states"])
            created = sys.argv[1]
            if created == "before":
                import states
                autostate.flush()
            child = context.Process(target=work)
            child.start()
            child.join()
            if created == "after":
                from states import progress
                say(dict(progress))
        """
    )
    code, output, error = processes.run(job, created, **({"AUTOSTATE_URL": url} if url else {}))
    assert (code, error) == (0, "")
    assert output.splitlines() == [
        "job.db {'page': 0}",
        "refused" if created == "before" else "saved",
        *["{'page': 1}"] * (created == "after"),
    ]
    assert [path.name for path in (processes.folder / ".autostate").glob("*.db")] == ["job.db"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_owns_what_its_parent_never_created(processes: Processes, method: str) -> None:
    """Until it ends; of several that write, the others are told."""
    job = processes.write(
        """
        import multiprocessing
        def work(wait):
            progress = PersistedDict("progress", page=0)
            wait.wait(30)
            try:
                progress["page"] += 1
                autostate.flush()
            except autostate.StateInUseError:
                sys.exit(75)
            wait.wait(30)
        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[1])
            wait = context.Barrier(2)
            children = [context.Process(target=work, args=(wait,)) for _ in range(2)]
            for child in children:
                child.start()
            while not any(child.exitcode == 75 for child in children):
                time.sleep(0.01)
            wait.abort()
            for child in children:
                child.join()
            say(sorted(child.exitcode for child in children))
        """
    )
    code, output, error = processes.run(job, method)
    assert code == 0, error
    assert output in ("[1, 75]\n", "[0, 75]\n"), error
    assert stored() == {"page": 1}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_that_is_killed_has_saved_by_itself(processes: Processes, method: str) -> None:
    """What nobody else owns is saved as usual from its first write on."""
    job = processes.write(
        """
        import multiprocessing
        def work():
            progress = PersistedDict("progress", page=0)
            progress["page"] += 1
            while autostate.statistics().flushes == 0:
                time.sleep(0.01)
            os.kill(os.getpid(), 9)
        if __name__ == "__main__":
            child = multiprocessing.get_context(sys.argv[1]).Process(target=work)
            child.start()
            child.join()
            say(child.exitcode, dict(PersistedDict("progress", page=0)))
        """
    )
    assert processes.run(job, method) == (0, "-9 {'page': 1}\n", "")


FORKS = """
import os, sys, time
reading, writing = os.pipe()
for _ in range(3):
    if not os.fork():
        import autostate
        progress = autostate.PersistedDict("progress", page=1)
        os.close(writing)
        os.read(reading, 1)  # until all are there
        try:
            progress["page"] += 1
        except autostate.StateInUseError as error:
            assert "hand results to the owner" in str(error)
            assert progress["page"] == 1
        else:
            autostate.flush()
            os.write(1, b"saved\\n")
            time.sleep(600)
        os._exit(0)
os.close(writing)
codes = [os.wait()[1] for _ in range(2)]
os.write(1, f"told {codes}\\n".encode())
"""


@pytest.mark.parametrize("first", ["", "import autostate.containers"])
def test_forked_workers_of_a_server_that_owns_nothing(processes: Processes, first: str) -> None:
    """Each imports the application: one owns the state, the others read, and are told."""
    (processes.folder / "job.py").write_text(first + FORKS)
    server = processes.start("job.py")
    assert server.stdout is not None
    printed = {server.stdout.readline() for _ in range(2)}
    os.killpg(server.pid, signal.SIGKILL)
    assert printed == {"saved\n", "told [0, 0]\n"}, server.communicate()[1]
    assert stored() == {"page": 2}


OLD = """
import os
import autostate
pipes = [os.pipe() for _ in range(3)]
def go_on(number):
    os.write(pipes[number][1], b"x")
def wait(number):
    os.read(pipes[number][0], 1)
owner = os.fork()
if not owner:
    progress = autostate.PersistedDict("progress", page=1)
    autostate.flush()
    go_on(0)
    wait(1)
    progress["page"] += 1
    autostate.flush()
    os._exit(0)
wait(0)
other = os.fork()
if not other:
    progress = autostate.PersistedDict("progress")
    go_on(1)
    wait(2)
    try:
        progress["page"] += 10
    except autostate.StateInUseError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(owner, 0)
go_on(2)
print(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]), flush=True)
"""


@pytest.mark.parametrize("on_fenced", ["raise", "exit"])
def test_a_worker_whose_state_is_old_is_told_or_ends(processes: Processes, on_fenced: str) -> None:
    """Its owner has saved since and ended: what this one would write comes from an old state."""
    (processes.folder / "job.py").write_text(OLD)
    code, printed, told = processes.run("job.py", AUTOSTATE_ON_FENCED=on_fenced)
    assert code == 0, told
    assert printed.endswith({"raise": "0\n", "exit": "75\n"}[on_fenced]), told
    assert "another process has changed the state in" in (printed + told)
    assert stored() == {"page": 2}


ORPHAN = """
import multiprocessing
progress = PersistedDict("progress", page=0)
def work():
    autostate.flush()
    say("works")
    parent = multiprocessing.parent_process().pid
    while os.getppid() == parent:
        time.sleep(0.01)
    progress["page"] += 1
    autostate.flush()
    say("saved")
"""


def test_an_orphaned_child_becomes_the_owner(processes: Processes) -> None:
    """A pool whose parent was killed: the first child that writes goes on from what was saved."""
    job = processes.write(
        ORPHAN
        + textwrap.dedent(
            """
            if __name__ == "__main__":
                progress["page"] += 1
                autostate.flush()
                multiprocessing.get_context("fork").Process(target=work).start()
                time.sleep(600)
            """
        )
    )
    parent = processes.start(job)
    hear(parent, "works")
    parent.kill()
    hear(parent, "saved")
    assert stored() == {"page": 2}


CLASSES = """
from dataclasses import dataclass
@dataclass
class Part:
    n: int = 0
@autostate.persisted
class Shop:
    page: int = 0
    part: Part | None = None
shop = Shop()
held = PersistedDict("held")
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_classes_of_the_program_are_no_changes_of_its_children(
    processes: Processes, method: str
) -> None:
    """They have the program as `__mp_main__`, and nothing to save."""
    job = processes.write(
        CLASSES
        + textwrap.dedent(
            """
            import multiprocessing
            def work():
                say(shop.page, shop.part, held)
            if __name__ == "__main__":
                shop.page, shop.part, held["part"] = 1, Part(), Part(2)
                autostate.flush()
                child = multiprocessing.get_context(sys.argv[1]).Process(target=work)
                child.start()
                child.join()
                say(child.exitcode)
            """
        )
    )
    printed = "1 Part(n=0) {'part': Part(n=2)}\n0\n"
    assert processes.run(job, method) == (0, printed, "")


def test_another_name_of_a_class_is_no_change(processes: Processes) -> None:
    """A child that imports the program as a module reads, and has nothing to save."""
    job = processes.write(
        CLASSES
        + textwrap.dedent(
            """
            import subprocess
            if __name__ == "__main__":
                shop.page, shop.part, held["part"] = 1, Part(), Part(2)
                autostate.flush()
                child = [sys.executable, "-c", "import job; print(job.shop.page, job.held)"]
                env = {**os.environ, "AUTOSTATE_URL": autostate.configure().url}
                say(subprocess.run(child, env=env, check=False).returncode)
            """
        )
    )
    assert processes.run(job) == (0, "1 {'part': Part(n=2)}\n0\n", "")


def test_a_renamed_class_is_saved_by_the_child_that_becomes_the_owner(
    processes: Processes,
) -> None:
    """It is no change while the parent lives, and unsaved all the same."""
    job = processes.write(
        ORPHAN
        + textwrap.dedent(
            """
            class Shop:
                page: int = 0
            Shop.__qualname__ = os.environ.get("SHOP", "Shop")
            shop = autostate.persisted(name="shop")(Shop)()
            if __name__ == "__main__":
                shop.page += 1
                autostate.flush()
                os.environ["SHOP"] = "Store"
                multiprocessing.get_context("spawn").Process(target=work).start()
                time.sleep(600)
            """
        )
    )
    parent = processes.start(job)
    hear(parent, "works")
    parent.kill()
    hear(parent, "saved")
    [shop] = [node for node in recovered() if node.name == "shop"]
    assert stored() == {"page": 1}
    assert shop.metadata["class"] == "__main__:Store"


def test_what_goes_past_the_methods_is_told_at_the_end(processes: Processes) -> None:
    """A plain list that the child holds, a call of the base class: nobody saves them."""
    job = processes.write(
        """
        held = []
        progress = PersistedDict("progress", page=1, held=None)
        progress["held"] = held
        autostate.flush()
        if sys.argv[1] == "held":
            change = lambda: held.append(1)
        else:
            change = lambda: dict.__setitem__(progress, "page", 2)
        pid = os.fork()
        if not pid:
            change()
            sys.exit(0)
        say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    for way in ("held", "base"):
        code, output, error = processes.run(job, way)
        assert (code, output) == (0, "74\n"), error
        assert "LOST" in error
        assert "belongs to process" in error
    assert stored() == {"page": 1, "held": []}


@pytest.mark.parametrize("unsaved", ["everything", "a key", "the list"])
def test_what_goes_past_the_methods_is_told_also_of_what_was_unsaved(
    processes: Processes, unsaved: str
) -> None:
    """At the fork; what the parent has yet to save is one thing, what the child changes another."""
    job = processes.write(
        f"""
        autostate.configure(debounce=600, max_delay=600)
        held = [1]
        progress = PersistedDict("progress", page=1, held=None)
        seen = PersistedSet("seen", [1, 2])
        progress["held"] = held
        if {unsaved!r} != "everything":
            autostate.flush()
            progress["page"] = 7
            seen.discard(1)
        if {unsaved!r} == "the list":
            held.append(7)
        changes = [
            lambda: None,
            lambda: dict.__setitem__(progress, "page", 2),
            lambda: dict.pop(progress, "page"),
            lambda: dict.update(progress, new=1),
            lambda: held.append(2),
            lambda: held.clear(),
            lambda: set.add(seen, 3),
        ]
        def in_a_child(change, *, flushes):
            if pid := os.fork():
                return pid
            try:
                change()
                if flushes:
                    autostate.flush()
            except autostate.StateInUseError:
                os._exit(9)
            sys.exit()
        for flushes in (False, True):
            children = [in_a_child(change, flushes=flushes) for change in changes]
            say(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
        """
    )
    code, output, error = processes.run(job)
    assert (code, output) == (0, "0 74 74 74 74 74 74\n0 9 9 9 9 9 9\n"), error
    assert error.count("LOST") == 6


def test_exec_gives_the_state_to_the_next_program(processes: Processes) -> None:
    """It has the same number of a process, and owns what is its own."""
    job = processes.write(
        """
        progress = PersistedDict("progress", page=0)
        progress["page"] += 1
        if progress["page"] < 3:
            os.execv(sys.executable, [sys.executable, *sys.argv])
        """
    )
    assert processes.run(job) == (0, "", "")
    assert stored() == {"page": 3}


# -- one process ------------------------------------------------------------------------------


def test_one_store_opened_twice_is_one(processes: Processes) -> None:
    """Both have the same live objects; it is closed with the last of them."""
    job = processes.write(
        """
        one = autostate.open("sqlite:///s.db")
        other = autostate.open("sqlite:///./s.db")
        with one:
            first = PersistedDict("progress", page=0)
            with other:
                second = PersistedDict("progress")
                assert first is second
                second["page"] += 1
            first["page"] += 1
            autostate.flush()
            try:
                with autostate.open("sqlite:///s.db", debounce=5):
                    PersistedDict("progress")
            except RuntimeError as error:
                assert "debounce" in str(error), error
            else:
                say("not told")
        with autostate.open("sqlite:///s.db", debounce=5):
            PersistedDict("progress")["page"] += 1
        """
    )
    assert processes.run(job) == (0, "", "")
    assert stored(path="s.db") == {"page": 3}


# -- on Apify's platform ----------------------------------------------------------------------

ACTOR = """
import asyncio
from apify import Actor
import autostate
from autostate import PersistedDict
autostate.configure("apify:seen")
async def main():
    async with Actor:
        state = PersistedDict("state", runs=0)
        state["runs"] += 1
        print("works", flush=True)
        await autostate.durable()
        while not (await Actor.get_input() or await Actor.get_value("stop")):
            await asyncio.sleep(0.05)
asyncio.run(main())
"""


@pytest.mark.usefixtures("forked_actors")
@pytest.mark.parametrize("ended", ["finished", "killed", "aborted"])
def test_two_runs_on_one_named_store(isolated: Path, ended: str) -> None:
    """The second is refused while the first runs, also before that has saved; then it goes on."""
    (isolated / "my_actor.py").write_text(ACTOR)
    command = [sys.executable, "my_actor.py"]
    with LocalPlatform() as platform:
        first = platform.start_run(command, cwd=isolated)
        first.container.wait_for_output("works")
        second = platform.start_run(command, cwd=isolated, input={"stop": 1})
        assert second.wait() != 0
        assert f"StateInUseError: the state in apify:seen belongs to the run {first.id}" in (
            second.output
        )
        if ended == "finished":
            first.store.set_json("stop", True)
            assert first.wait() == 0
        elif ended == "aborted":
            first.abort()
        else:
            first.kill()
            first.abort()
        third = platform.start_run(command, cwd=isolated, input={"stop": 1})
        assert third.wait() == 0, third.output
        [named] = [s for s in platform.stores.all() if "seen" in (s.name or "")]
        assert b'"runs":2' in b"".join(named.records[k].value for k in named.records)


# -- found by attacks -------------------------------------------------------------------------


def test_of_two_that_are_closed_at_once_one_finishes(processes: Processes) -> None:
    """Else the process would keep itself, and everybody else, out of the state."""
    job = processes.write(
        """
        import threading
        for number in range(20):
            managers = [autostate.open("sqlite:///s.db") for _ in range(2)]
            for manager in managers:
                autostate.runtime.api.current.set(manager)
                PersistedDict("progress", page=0)["page"] = number
            autostate.runtime.api.current.set(None)
            start = threading.Barrier(2)
            def close(manager):
                start.wait()
                manager.close()
            threads = [threading.Thread(target=close, args=(each,)) for each in managers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not os.path.exists("s.db-owner")
        """
    )
    code, _, error = processes.run(job)
    assert (code, error) == (0, "")
    assert stored(path="s.db") == {"page": 19}


def test_a_store_that_is_just_being_closed_is_waited_for(processes: Processes) -> None:
    """Whoever opens it by then would join what is never saved again."""
    job = processes.write(
        """
        import threading
        from autostate.runtime import incarnation
        finish = incarnation.Incarnation.finish
        begun, goes_on = threading.Event(), threading.Event()
        def slowly(self, timeout):
            begun.set()
            goes_on.wait()
            return finish(self, timeout)
        incarnation.Incarnation.finish = slowly
        autostate.configure("sqlite:///s.db")
        def batch():
            with autostate.open("sqlite:///s.db"):
                PersistedDict("batch", done=1)
        thread = threading.Thread(target=batch)
        thread.start()
        begun.wait()
        threading.Timer(0.1, goes_on.set).start()
        progress = PersistedDict("progress", page=0)
        progress["page"] += 1
        thread.join()
        autostate.flush()
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    code, _, error = processes.run(job)
    assert (code, error) == (-signal.SIGKILL, "")
    assert stored(path="s.db") == {"page": 1}


def test_threads_that_open_and_close_one_store_by_turns(processes: Processes) -> None:
    """What each has written is saved when it leaves the body."""
    job = processes.write(
        """
        import asyncio, threading
        def work(name):
            for number in range(1, 41):
                with autostate.open("sqlite:///s.db"):
                    PersistedDict(name, n=0)["n"] = number
        async def work_async(name):
            for number in range(1, 41):
                async with autostate.open("sqlite:///s.db"):
                    PersistedDict(name, n=0)["n"] = number
        failed = []
        threading.excepthook = failed.append
        threads = [threading.Thread(target=work, args=(f"t{each}",)) for each in range(2)]
        threads.append(threading.Thread(target=lambda: asyncio.run(work_async("t2"))))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed, failed
        with autostate.open("sqlite:///s.db", readonly=True):
            say(*(PersistedDict(f"t{each}")["n"] for each in range(3)))
        """
    )
    assert processes.run(job) == (0, "40 40 40\n", "")


def test_a_manager_that_is_closed_while_it_creates_gives_the_state_back(
    processes: Processes,
) -> None:
    """Another thread closes it; whoever creates is told, and nobody else is kept out."""
    job = processes.write(
        """
        import threading
        from autostate.runtime import incarnation
        from autostate.runtime import manager as managers
        managers.CREATING = 0.05
        recover, begun, goes_on = incarnation._recover, threading.Event(), threading.Event()
        def slowly(*args):
            found = recover(*args)
            begun.set()
            goes_on.wait()
            return found
        incarnation._recover = slowly
        manager = autostate.open("sqlite:///s.db")
        def create():
            with manager:
                try:
                    PersistedDict("progress", page=0)
                except RuntimeError as error:
                    say("is closed" in str(error))
        thread = threading.Thread(target=create)
        thread.start()
        begun.wait()
        manager.close()
        goes_on.set()
        thread.join()
        say(os.path.exists("s.db-owner"))
        """
    )
    assert processes.run(job) == (0, "True\nFalse\n", "")


def test_who_waits_for_its_own_end_is_told(processes: Processes) -> None:
    """Code that the last save calls cannot begin the store anew."""
    job = processes.write(
        """
        def receive(sender, **rest):
            if sender is manager:
                try:
                    with autostate.open("sqlite:///s.db"):
                        PersistedDict("late")
                except autostate.StoreUnavailableError as error:
                    say("just being saved" in str(error))
        autostate.hub.flushed.connect(receive)
        with autostate.open("sqlite:///s.db", debounce=600, max_delay=600) as manager:
            PersistedDict("progress", page=0)["page"] += 1
        """
    )
    assert processes.run(job) == (0, "True\n", "")


def test_what_a_fenced_process_loses_shows_in_its_exit_code(processes: Processes) -> None:
    """Also where the log goes to a file, and no write of its own has been refused."""
    job = processes.write(
        """
        import logging
        logging.basicConfig(filename=f"{os.getpid()}.log")
        progress = PersistedDict("progress", page=0)
        progress["page"] += 1
        autostate.flush()
        say("works")
        if "waits" in sys.argv:
            sys.stdin.read()
            progress["page"] += 100
        """
    )
    first = processes.start(job, "waits")
    hear(first, "works")
    assert processes.run(job, AUTOSTATE_TAKEOVER="1") == (0, "works\n", "")
    _, error = first.communicate("")
    assert first.returncode == 74
    assert error.startswith("autostate: the unsaved changes are LOST: a later process")
    assert stored() == {"page": 2}


def test_the_other_stores_of_a_fenced_process_that_ends_are_saved(processes: Processes) -> None:
    """It ends because of one of them."""
    job = processes.write(
        """
        progress = PersistedDict("progress", page=0)
        progress["page"] += 1
        autostate.flush()
        if "waits" in sys.argv:
            with autostate.open("sqlite:///other.db", debounce=3600):
                other = PersistedDict("other", page=0)
                say("works")
                sys.stdin.readline()
                other["page"] = 100
                progress["page"] = 100
                time.sleep(600)
        """
    )
    first = processes.start(job, "waits", AUTOSTATE_ON_FENCED="exit")
    hear(first, "works")
    assert processes.run(job, AUTOSTATE_TAKEOVER="1") == (0, "", "")
    first.communicate("\n", timeout=WAIT)
    assert first.returncode == 75
    assert stored() == {"page": 2}
    assert stored("other", path="other.db") == {"page": 100}


def test_a_child_does_not_take_over_because_its_parent_may(processes: Processes) -> None:
    """Environment variables are inherited."""
    job = processes.write(
        """
        import subprocess
        progress = PersistedDict("progress", page=0)
        autostate.flush()
        if "child" in sys.argv:
            try:
                progress["page"] = 7
            except autostate.StateInUseError:
                sys.exit(75)
            sys.exit()
        child = subprocess.run([sys.executable, __file__, "child"], check=False)
        progress["page"] += 1
        autostate.flush()
        say(child.returncode)
        """
    )
    assert processes.run(job, AUTOSTATE_TAKEOVER="1") == (0, "75\n", "")
    assert stored() == {"page": 1}


def test_a_daemon_in_another_folder_goes_on_in_the_sdks_folder(processes: Processes) -> None:
    """In that of its parent, not in one of the same name elsewhere."""
    job = processes.write(
        """
        autostate.configure("apify:jobs")
        progress = PersistedDict("progress", page=0)
        progress["page"] += 1
        autostate.flush()
        if "daemon" in sys.argv:
            if os.fork():
                os._exit(0)
            os.mkdir("elsewhere")
            os.chdir("elsewhere")
            progress["page"] += 1
            autostate.flush()
        say(dict(progress))
        """
    )
    assert processes.run(job, "daemon")[:2] == (0, "{'page': 2}\n")
    assert processes.run(job) == (0, "{'page': 3}\n", "")


@pytest.mark.parametrize("url", ["apify:jobs", "memory:jobs"])
def test_a_named_store_opened_twice_is_one(processes: Processes, url: str) -> None:
    """As a file is; stores in memory without a name are each their own."""
    job = processes.write(
        """
        url = sys.argv[1]
        with autostate.open(url):
            first = PersistedDict("progress", page=0)
            with autostate.open(url):
                assert PersistedDict("progress") is first
                first["page"] += 1
            first["page"] += 1
        with autostate.open(url):
            say(dict(PersistedDict("progress")))
        with autostate.open("memory:"):
            first = PersistedDict("progress", page=0)
            with autostate.open("memory:"):
                assert PersistedDict("progress", page=0) is not first
        """
    )
    assert processes.run(job, url) == (0, "{'page': 2}\n", "")


def test_a_folder_of_the_sdk_under_two_names_is_one(processes: Processes) -> None:
    """One of which is a link."""
    job = processes.write(
        """
        os.makedirs("storage/key_value_stores/jobs")
        os.symlink("jobs", "storage/key_value_stores/link")
        with autostate.open("apify:jobs"):
            first = PersistedDict("progress", page=0)
            with autostate.open("apify:link"):
                assert PersistedDict("progress") is first
        """
    )
    assert processes.run(job) == (0, "", "")


def test_a_store_that_was_deleted_is_owned_again(processes: Processes) -> None:
    """With its lock file, which was deleted too."""
    job = processes.write(
        """
        import shutil
        progress = PersistedDict("progress", page=0)
        autostate.flush()
        shutil.rmtree(".autostate")
        progress["page"] += 1
        autostate.flush()
        say("works")
        sys.stdin.readline()
        """
    )
    first = processes.start(job)
    hear(first, "works")
    assert processes.run(job)[0] == 75
    assert end(first)[0] == 0
    assert stored() == {"page": 1}


@pytest.mark.parametrize("url", ["sqlite:///storage/job.db", "apify:jobs"])
def test_what_was_begun_anew_is_not_replaced_by_a_former_owner(
    processes: Processes, url: str
) -> None:
    """The store and its lock file were deleted while it was owned: so nobody was kept out."""
    job = processes.write(
        """
        import shutil
        autostate.configure(sys.argv[2])
        progress = PersistedDict("progress", by=None)
        if "first" in sys.argv:
            autostate.flush()
            shutil.rmtree("storage")
            say("deleted")
            sys.stdin.readline()
            progress["by"] = "first"
            try:
                autostate.flush()
            except autostate.FencedError as error:
                say("fenced:", error)
                sys.exit()
        progress["by"] = "second"
        autostate.flush()
        say("saved")
        sys.stdin.readline()
        progress["again"] = 1
        """
    )
    first = processes.start(job, "first", url)
    hear(first, "deleted")
    second = processes.start(job, "second", url)
    hear(second, "saved")
    _, output, error = end(first)
    assert f"belongs to process {second.pid} (job.py), since" in output, error
    assert "is saved again" not in error
    assert end(second) == (0, "", "")
    look = f"autostate.configure({url!r})\nsay(dict(PersistedDict('progress')))"
    assert processes.run(processes.write(look, "look.py")) == (
        0,
        "{'by': 'second', 'again': 1}\n",
        "",
    )


@pytest.mark.parametrize("what", ["storage", "storage/key_value_stores/jobs.autostate-owner"])
def test_a_folder_of_the_sdk_that_was_deleted_is_saved_again(
    processes: Processes, what: str
) -> None:
    """All of it. If only the lock file was, another one is locked."""
    job = processes.write(
        f"""
        import shutil
        autostate.configure("apify:jobs")
        progress = PersistedDict("progress", old=1)
        autostate.flush()
        subject = {what!r}
        shutil.rmtree(subject) if os.path.isdir(subject) else os.unlink(subject)
        progress["new"] = 2
        autostate.flush()
        say("works")
        sys.stdin.readline()
        """
    )
    first = processes.start(job)
    hear(first, "works")
    assert processes.run(job)[0] == 75
    code, _, error = end(first)
    assert code == 0
    assert ("everything is saved again" in error) == (what == "storage")
    look = "autostate.configure('apify:jobs')\nsay(dict(PersistedDict('progress')))"
    assert processes.run(processes.write(look, "look.py"))[1] == "{'old': 1, 'new': 2}\n"


def test_a_forked_child_that_was_refused_goes_on_in_the_sdks_folder(processes: Processes) -> None:
    """As soon as its parent has ended: to have been refused closes nothing that it needs."""
    job = processes.write(
        """
        autostate.configure("apify:jobs")
        progress = PersistedDict("progress", page=0)
        autostate.flush()
        parent = os.getpid()
        reading, writing = os.pipe()
        if os.fork():
            os.close(writing)
            os.read(reading, 1)  # until the child was refused
            os._exit(0)
        try:
            progress["page"] = 7
        except autostate.StateInUseError:
            os.write(writing, b".")
        while os.getppid() == parent:
            time.sleep(0.01)
        progress["page"] += 1
        autostate.flush()
        say("saved")
        """
    )
    assert processes.run(job) == (0, "saved\n", "")


@pytest.mark.usefixtures("forked_actors")
def test_a_child_in_another_run_is_refused_too(isolated: Path) -> None:
    """It claims with its first write, and asks for the owner's run then."""
    (isolated / "my_actor.py").write_text(ACTOR)
    (isolated / "parent.py").write_text(CHILD_OF_A_RUN)
    with LocalPlatform() as platform:
        first = platform.start_run([sys.executable, "my_actor.py"], cwd=isolated)
        first.container.wait_for_output("works")
        second = platform.start_run([sys.executable, "parent.py"], cwd=isolated)
        assert second.wait() == 75, second.output
        first.store.set_json("stop", True)
        assert first.wait() == 0, first.output


CHILD_OF_A_RUN = """
import multiprocessing, sys
def work():
    import autostate
    autostate.configure("apify:seen")
    state = autostate.PersistedDict("state", runs=0)
    try:
        state["runs"] += 1
    except autostate.StateInUseError:
        sys.exit(75)
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""


def test_a_fork_in_a_block_leaves_the_block_to_both(processes: Processes) -> None:
    """An orphan saves no half of it, and undoes the whole if it fails."""
    job = processes.write(
        """
        progress = PersistedDict("progress", page=0, seen=[])
        autostate.flush()
        parent = os.getpid()
        try:
            with autostate.atomic():
                progress["page"] = 1
                progress["seen"].append(1)
                if os.fork():
                    if "killed" in sys.argv:
                        os.kill(parent, signal.SIGKILL)
                    os._exit(0)
                while os.getppid() == parent:
                    time.sleep(0.01)
                progress["page"] += 1
                progress["late"] = True
                time.sleep(0.5)  # for saves of half of it
                with autostate.open(autostate.configure().url, readonly=True):
                    say(dict(PersistedDict("progress")))
                if "fails" in sys.argv:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        autostate.flush()
        say(dict(progress))
        """
    )
    begun = {"page": 0, "seen": []}
    for how in ("fails", "works"):
        child = processes.start(job, "killed", how)
        hear(child, str(begun))
        done = begun if how == "fails" else {"page": 2, "seen": [1], "late": True}
        hear(child, str(done))
        assert stored() == done


def test_what_another_thread_has_begun_is_not_in_a_forked_child(processes: Processes) -> None:
    """Nobody there would end its block; the parent's goes on."""
    job = processes.write(
        """
        import threading
        progress = PersistedDict("progress", page=0, seen=[], late=None)
        autostate.flush()
        begun, go_on = threading.Event(), threading.Event()
        def write():
            with autostate.atomic():
                progress["page"] = 1
                progress["seen"].append(1)
                begun.set()
                go_on.wait()
                progress["late"] = True
        thread = threading.Thread(target=write)
        thread.start()
        begun.wait()
        if not (pid := os.fork()):
            say("child", dict(progress))
            sys.exit()
        os.waitpid(pid, 0)
        go_on.set()
        thread.join()
        say("parent", dict(progress))
        """
    )
    code, output, error = processes.run(job)
    assert (code, error) == (0, "")
    child, parent = output.splitlines()
    assert child == "child {'page': 0, 'seen': [], 'late': None}"
    assert parent == "parent {'page': 1, 'seen': [1], 'late': True}"


def test_what_another_thread_is_about_to_save_is_no_change_of_the_child(
    processes: Processes,
) -> None:
    """A fork between the encoding of a commit and its end."""
    job = processes.write(
        """
        import threading
        from autostate.stores.sqlite import SqliteStore
        progress = PersistedDict("progress", page=0, seen=[])
        deleted = PersistedDict("deleted")
        autostate.flush()
        writes, forked = threading.Event(), threading.Event()
        write = SqliteStore.write
        def write_slowly(*args, **kwargs):
            writes.set()
            forked.wait(30)
            return write(*args, **kwargs)
        SqliteStore.write = write_slowly
        progress["page"] += 1
        progress["seen"].append(1)
        autostate.delete(deleted)
        threading.Thread(target=autostate.flush).start()
        writes.wait(30)
        child = os.fork()
        if not child:
            sys.exit()
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        forked.set()
        autostate.flush()
        say(autostate.statistics().failures)
        """
    )
    assert processes.run(job) == (0, "0\n0\n", "")
    assert stored() == {"page": 1, "seen": [1]}


def test_threads_that_fork_at_the_same_time(processes: Processes) -> None:
    """Each lets go of what itself has held: all is saved as before."""
    job = processes.write(
        """
        import threading
        sys.setswitchinterval(1e-6)
        progress = PersistedDict("progress", page=0)
        autostate.flush()
        def fork():
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)
        threads = [threading.Thread(target=lambda: [fork() for _ in range(60)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            progress["page"] += 1
            autostate.flush()
        for thread in threads:
            thread.join()
        progress["page"] = -1
        autostate.flush(timeout=10)
        """
    )
    assert processes.run(job) == (0, "", "")
    assert stored() == {"page": -1}


def test_a_fork_waits_for_an_import_that_another_thread_has_begun(processes: Processes) -> None:
    """The child would wait for ever: the library imports some of its modules when it needs them."""
    (processes.folder / "slow.py").write_text(
        "import sys, time\nsys.modules['__main__'].begun.set()\ntime.sleep(0.3)\ndone = True\n"
    )
    job = processes.write(
        """
        import threading
        autostate.__path__.append(os.getcwd())
        begun = threading.Event()
        PersistedDict("progress")
        thread = threading.Thread(target=lambda: __import__("autostate.slow"))
        thread.start()
        begun.wait(30)
        child = os.fork()
        if not child:
            signal.alarm(10)
            from autostate.slow import done
            sys.exit()
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        thread.join()
        """
    )
    assert processes.run(job) == (0, "0\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell what is open")
def test_a_child_does_not_keep_the_lock_that_another_thread_is_about_to_take(
    processes: Processes,
) -> None:
    """Else the state would have an owner for as long as the child lives."""
    job = processes.write(
        """
        import threading
        opened, really_open = threading.Event(), os.open
        def open_slowly(path, *args, **kwargs):
            descriptor = really_open(path, *args, **kwargs)
            if str(path).endswith("-owner"):
                opened.set()
                time.sleep(0.3)
            return descriptor
        os.open = open_slowly
        thread = threading.Thread(target=PersistedDict, args=("progress",))
        thread.start()
        opened.wait(30)
        child = os.fork()
        if not child:
            links = [f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd")]
            say([link for link in links if os.path.realpath(link).endswith("-owner")])
            os._exit(0)
        os.waitpid(child, 0)
        thread.join()
        """
    )
    assert processes.run(job) == (0, "[]\n", "")


def test_a_fork_waits_for_a_change_that_another_thread_has_begun(processes: Processes) -> None:
    """The child would find a half of it, and call it a change of its own."""
    job = processes.write(
        """
        import threading
        progress = PersistedDict("progress", page=0)
        begun, ended = threading.Event(), threading.Event()
        def change():
            with progress._node_.tracker.lock:
                begun.set()
                time.sleep(0.3)
                ended.set()
        changes = threading.Thread(target=change)
        changes.start()
        begun.wait(30)
        child = os.fork()
        if not child:
            say(ended.is_set())
            sys.exit()
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        changes.join()
        """
    )
    assert processes.run(job) == (0, "True\n0\n", "")


def test_a_child_that_is_refused_inside_a_block_changes_nothing(processes: Processes) -> None:
    """Neither what the block wrote before the fork, nor the parent's block."""
    job = processes.write(
        """
        class Shop:
            pass
        shop = autostate.persisted(name="shop")(Shop)()
        shop.page = 0
        progress = PersistedDict("progress", page=0)
        autostate.flush()
        with autostate.atomic():
            progress["page"] = shop.page = 1
            if not (pid := os.fork()):
                try:
                    try:
                        progress["page"] = 2
                    except autostate.StateInUseError:
                        shop.page = 2
                except autostate.StateInUseError:
                    say(dict(progress), shop.page)
                    sys.exit(3)
            say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        say(dict(progress), shop.page)
        """
    )
    assert processes.run(job) == (0, "{'page': 1} 1\n3\n{'page': 1} 1\n", "")
    assert stored() == {"page": 1}


@pytest.mark.parametrize("unsaved", ["shop.page = 1", "held.append(1)", "shop.tags.append('a')"])
def test_what_the_parent_has_not_saved_at_the_fork_is_no_loss_of_the_child(
    processes: Processes, unsaved: str
) -> None:
    """The parent saves it."""
    job = processes.write(
        f"""
        class Shop:
            pass
        held = []
        shop = autostate.persisted(name="shop")(Shop)()
        shop.page, shop.tags = 0, []
        progress = PersistedDict("progress", held=None)
        progress["held"] = held
        autostate.flush()
        {unsaved}
        if not (pid := os.fork()):
            if "past" in sys.argv:
                vars(shop)["late"] = 1
            sys.exit()
        say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert processes.run(job) == (0, "0\n", "")


def test_what_goes_past_the_methods_in_a_child_of_multiprocessing_is_told(
    processes: Processes,
) -> None:
    """It ends without atexit, and may never have called anything of the library."""
    job = processes.write(
        """
        import multiprocessing
        held = []
        progress = PersistedDict("progress", held=None)
        progress["held"] = held
        autostate.flush()
        if __name__ == "__main__":
            for work in (lambda: held.append(1), lambda: len(held)):
                child = multiprocessing.get_context("fork").Process(target=work)
                child.start()
                child.join()
                say(child.exitcode)
        """
    )
    code, output, error = processes.run(job)
    assert (code, output) == (0, "74\n0\n")
    assert error.count("LOST") == 1


@pytest.mark.parametrize("forks", [1, 2])
@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit()"])
def test_a_daemon_goes_on_as_the_owner(processes: Processes, forks: int, end: str) -> None:
    """Whether its parent ends at once or in order, with nothing left to save."""
    job = processes.write(
        f"""
        progress = PersistedDict("progress", page=0)
        progress["page"] += 1
        autostate.flush()
        for _ in range({forks}):
            if os.fork():
                {end}
            os.setsid()
        progress["page"] += 1
        autostate.flush()
        say("saved")
        sys.stdin.readline()
        progress["page"] += 1
        """
    )
    daemon = processes.start(job)
    hear(daemon, "saved")
    assert stored() == {"page": 2}
    assert processes.run(job)[0] == 75
    assert end_of(daemon) == ("", "")
    assert stored() == {"page": 3}


def end_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Let a daemon go on to its end: its pipes are closed then."""
    tell(process)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.close()
    return process.stdout.read(), process.stderr.read()


def test_threads_of_the_owner_save_on_while_children_are_refused(processes: Processes) -> None:
    """Forks are made in the midst of their writes; nothing is counted twice or lost."""
    job = processes.write(
        """
        import threading
        hits = PersistedCounter("hits")
        ended = threading.Event()
        def count(name):
            while not ended.is_set():
                hits[name] += 1
        threads = [threading.Thread(target=count, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        codes = []
        for _ in range(10):
            if not (pid := os.fork()):
                found = dict(hits)
                try:
                    hits["a"] += 1
                except autostate.StateInUseError:
                    os._exit(75 if dict(hits) == found else 1)
                os._exit(2)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        ended.set()
        for thread in threads:
            thread.join()
        say(*codes)
        say(sorted(hits.items()))
        """
    )
    code, output, error = processes.run(job)
    assert (code, error) == (0, "")
    codes, hits = output.splitlines()
    assert codes.split() == ["75"] * 10
    assert hits == str(sorted(stored("hits").items()))


def test_an_interpreter_in_a_terminal_beside_a_job(processes: Processes) -> None:
    """It has a store of its own; is refused that of the job, and goes on; and may read it."""
    job = processes.start(processes.write(JOB))
    hear(job, "works")
    url = "sqlite:///.autostate/job.db"
    lines = [
        "import autostate",
        "dict(autostate.PersistedDict('progress'))",
        f"shared = autostate.open('{url}')",
        "with shared: print(autostate.PersistedDict('progress'))",
        "",
        f"with autostate.open('{url}', readonly=True): print(autostate.PersistedDict('progress'))",
        "",
        "exit()",
    ]
    seen = interactive(processes, lines)
    assert "{}" in seen
    assert "autostate: the state in sqlite:///" in seen
    assert "{'page': 1}" in seen
    assert end(job) == (0, "", "")
    assert stored() == {"page": 2}
    assert stored(path=".autostate/interactive.db") == {}


def interactive(processes: Processes, lines: list[str]) -> str:
    """What an interpreter in a terminal shows for these lines."""
    ours, theirs = pty.openpty()
    env = processes.env | {"TERM": "dumb", "PYTHON_BASIC_REPL": "1"}
    with subprocess.Popen(
        [sys.executable, "-q"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=processes.folder,
        env=env,
    ) as process:
        os.close(theirs)
        os.write(ours, "".join(f"{line}\n" for line in lines).encode())
        seen = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(ours, 65536):
                seen += data
        os.close(ours)
    assert process.returncode == 0
    return seen.decode()


SITUATIONS: dict[str, list[Any]] = {
    "Ctrl-C, SIGTERM or `kill -9`": [
        test_a_run_that_was_ended_can_be_started_again_at_once,
        test_a_killed_run_is_started_again_while_its_children_live_on,
        test_an_owner_that_has_begun_to_end_is_waited_for,
    ],
    "the same program twice": [
        test_the_same_program_twice,
        test_the_same_program_twice_with_the_sdks_folder,
    ],
    "… with `wait_for_owner=60`": [test_a_program_may_wait_for_the_owner_to_end],
    "… with `takeover=True`": [
        test_a_program_may_take_over,
        test_a_fenced_process_may_end_at_once,
        test_a_child_does_not_take_over_because_its_parent_may,
    ],
    "two programs in one folder": [
        test_two_programs_in_one_folder,
        test_two_programs_of_one_name_in_two_folders,
        test_a_renamed_program_is_told_where_its_state_is,
    ],
    "a shell, `python -c` or a notebook": [
        test_a_look_from_a_shell_beside_a_job,
        test_an_interpreter_in_a_terminal_beside_a_job,
        "test_notebooks.py::test_a_notebook_beside_a_job",
    ],
    "`multiprocessing`, `concurrent.futures`": [
        test_children_of_multiprocessing_read_and_are_refused_to_write,
        test_what_goes_past_the_methods_is_told_at_the_end,
        test_what_goes_past_the_methods_in_a_child_of_multiprocessing_is_told,
    ],
    "… children of a fork server": [
        test_what_the_fork_server_has_imported_belongs_to_the_program,
    ],
    "… children of a process that does not own": [
        test_a_child_owns_what_its_parent_never_created,
        test_a_child_that_is_killed_has_saved_by_itself,
    ],
    "… children whose parent was killed": [
        test_an_orphaned_child_becomes_the_owner,
        test_a_fork_in_a_block_leaves_the_block_to_both,
    ],
    "a daemon": [
        test_a_daemon_goes_on_as_the_owner,
        test_a_daemon_in_another_folder_goes_on_in_the_sdks_folder,
    ],
    "`os.fork`, and the parent goes on": [
        test_a_child_that_is_refused_inside_a_block_changes_nothing,
        test_what_the_parent_has_not_saved_at_the_fork_is_no_loss_of_the_child,
        test_threads_of_the_owner_save_on_while_children_are_refused,
        test_what_another_thread_has_begun_is_not_in_a_forked_child,
        test_what_another_thread_is_about_to_save_is_no_change_of_the_child,
        test_threads_that_fork_at_the_same_time,
        test_a_child_does_not_keep_the_lock_that_another_thread_is_about_to_take,
        test_a_fork_waits_for_an_import_that_another_thread_has_begun,
        test_a_fork_waits_for_a_change_that_another_thread_has_begun,
    ],
    "`os.execv`": [test_exec_gives_the_state_to_the_next_program],
    "uvicorn, gunicorn with one worker": ["test_servers.py::test_a_hit_is_counted_or_refused"],
    "… a new worker that has imported": [
        test_a_worker_whose_state_is_old_is_told_or_ends,
        "test_servers.py::test_a_worker_that_came_before_the_old_one_ended",
    ],
    "uvicorn, gunicorn with several": [
        "test_servers.py::test_a_hit_is_counted_or_refused",
        test_forked_workers_of_a_server_that_owns_nothing,
    ],
    "… with `--preload`": ["test_servers.py::test_a_hit_is_counted_or_refused"],
    "one store opened twice": [
        test_one_store_opened_twice_is_one,
        test_a_named_store_opened_twice_is_one,
        test_a_folder_of_the_sdk_under_two_names_is_one,
        test_of_two_that_are_closed_at_once_one_finishes,
    ],
    "the store deleted while it is owned": [
        test_a_store_that_was_deleted_is_owned_again,
        test_a_folder_of_the_sdk_that_was_deleted_is_saved_again,
        test_what_was_begun_anew_is_not_replaced_by_a_former_owner,
    ],
    "two containers of one run": [
        "test_actor.py::test_the_next_write_of_a_container_that_was_replaced_waits_for_its_kill",
    ],
    "two runs of an Actor on one named store": [
        test_two_runs_on_one_named_store,
        test_a_child_in_another_run_is_refused_too,
    ],
}
"""How each row of the table in `docs/processes.md` begins, and the tests that show it."""


def test_the_documented_situations_are_those_that_are_tested() -> None:
    """Each row of the table has its tests, in this order, and they are there."""
    text = (ROOT / "docs" / "processes.md").read_text()
    rows = [line.removeprefix("| ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(SITUATIONS)
    for row, (begins, tests) in zip(rows, SITUATIONS.items(), strict=True):
        assert row.startswith(begins)
        for test in tests:
            if isinstance(test, str):
                name, _, function = test.partition("::")
                assert f"def {function}(" in (ROOT / "tests" / name).read_text()
