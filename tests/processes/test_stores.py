"""One store opened twice, closed meanwhile, or deleted while it is owned."""

from __future__ import annotations

import signal

import pytest

from tests.processes.programs import Processes, end, hear, stored


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
        from autostate.runtime import store_use
        store_use.CREATING = 0.05
        recover, begun, goes_on = incarnation.start, threading.Event(), threading.Event()
        def slowly(*args):
            found = recover(*args)
            begun.set()
            goes_on.wait()
            return found
        incarnation.start = slowly
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
    first = processes.working(job)
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
    first = processes.working(job)
    assert processes.run(job)[0] == 75
    code, _, error = end(first)
    assert code == 0
    assert ("everything is saved again" in error) == (what == "storage")
    look = "autostate.configure('apify:jobs')\nsay(dict(PersistedDict('progress')))"
    assert processes.run(processes.write(look, "look.py"))[1] == "{'old': 1, 'new': 2}\n"
