"""Children of the owner read and are refused to write; they own what it never created."""

from __future__ import annotations

import os
import signal

import pytest

from tests.processes.programs import Processes, stored

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
            assert "a SharedCounter" in str(error)
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
