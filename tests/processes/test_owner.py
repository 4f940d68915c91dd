"""One process owns a state: who comes later is refused, waits for its end, or takes over."""

from __future__ import annotations

import os
import signal

import pytest

from tests.processes.programs import JOB, WAIT, Processes, end, hear, stored, tell


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_ended_can_be_started_again_at_once(
    processes: Processes, how: signal.Signals
) -> None:
    """Whatever ended it."""
    job = processes.write(JOB)
    first = processes.working(job)
    first.send_signal(how)
    second = processes.working(job)
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
    first = processes.working(job, "child")
    first.kill()
    first.wait(WAIT)
    assert processes.run(job) == (0, "", "")
    assert stored() == {"page": 2}
    os.killpg(first.pid, signal.SIGKILL)


def test_the_same_program_twice(processes: Processes) -> None:
    """A cron job overlaps itself: the second run ends with 75 and one line; the first saves on."""
    job = processes.write(JOB)
    first = processes.working(job)
    code, output, error = processes.run(job)
    assert (code, output) == (75, "")
    assert error.count("\n") == 1
    assert error.startswith("autostate: the state in sqlite:///")
    assert f"process {first.pid} (job.py), since " in error
    assert "last saved" in error
    for way in ("wait_for_owner", "AUTOSTATE_URL", "readonly=True", "takeover=True", "SharedSet"):
        assert way in error
    other = processes.write(
        "autostate.configure('sqlite:///.autostate/job.db')\n" + JOB, "other.py"
    )
    code, _, error = processes.run(other)
    assert (code, "SharedSet" in error) == (75, False)  # it has nothing to do with this program
    assert end(first) == (0, "", "")
    assert stored() == {"page": 2}
    assert processes.run(job)[0] == 0
    assert stored() == {"page": 4}


def test_the_same_program_twice_with_the_sdks_folder(processes: Processes) -> None:
    """Its store is a folder that does not exist at first."""
    job = processes.write("autostate.configure('apify:jobs')\n" + JOB)
    first = processes.working(job)
    code, _, error = processes.run(job)
    assert code == 75
    assert f"process {first.pid} (job.py)" in error
    assert end(first) == (0, "", "")
    assert processes.run(job) == (0, "works\n", "")


def test_a_program_may_wait_for_the_owner_to_end(processes: Processes) -> None:
    """As long as it was told to; and for one that has begun to end without being told."""
    job = processes.write("from autostate.runtime import claim; claim.TELLING = 0\n" + JOB)
    first = processes.working(job)
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
    first = processes.working(job)
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
    first = processes.working(job)
    second = processes.working(job, AUTOSTATE_TAKEOVER="yes")
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
    first = processes.working(job)
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
    first = processes.working(job, "first")
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
    first = processes.working(job)
    processes.working(job, AUTOSTATE_TAKEOVER="yes")
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
    code = "progress = PersistedDict('progress', page=0)"  # a name that many use says nothing
    assert processes.run(processes.write(code, "third.py")) == (0, "", "")
    code = "import apify; other = PersistedDict('other', page=0)"
    exit_code, _, error = processes.run(processes.write(code))
    assert exit_code == 0
    assert "'other' is new and empty in the storage of an Actor" in error
    assert f"AUTOSTATE_URL=sqlite:///{processes.folder / '.autostate'}" in error
    assert processes.run(processes.write("PersistedDict('mine')", "b.py")) == (0, "", "")


def test_a_wrong_variable_is_one_line(processes: Processes) -> None:
    """As a wrong AUTOSTATE_URL is; also beside a URL that is right, which is not blamed."""
    job = processes.write("PersistedDict('d')")
    for url in ({}, {"AUTOSTATE_URL": "memory:"}):
        told = "debounce must be a number of seconds, not 'fast'\n"
        error = f"autostate: the environment variable AUTOSTATE_DEBOUNCE: {told}"
        assert processes.run(job, AUTOSTATE_DEBOUNCE="fast", **url) == (1, "", error)


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
    first = processes.working(job, "waits")
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
    first = processes.working(job, "waits", AUTOSTATE_ON_FENCED="exit")
    assert processes.run(job, AUTOSTATE_TAKEOVER="1") == (0, "", "")
    first.communicate("\n", timeout=WAIT)
    assert first.returncode == 75
    assert stored() == {"page": 2}
    assert stored("other", path="other.db") == {"page": 100}
