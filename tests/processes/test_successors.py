"""Who goes on where the owner has ended: workers, orphans, daemons, the next program."""

from __future__ import annotations

import subprocess
import textwrap

import pytest

from tests.processes.programs import ORPHAN, Processes, hear, stored, tell

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
    parent = processes.working(job)
    parent.kill()
    hear(parent, "saved")
    assert stored() == {"page": 2}


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
