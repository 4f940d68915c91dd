"""Forks while other threads write, save, import and take locks."""

from __future__ import annotations

import sys

import pytest

from tests.processes.programs import Processes, stored


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
        threads = [threading.Thread(target=count, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        codes = []
        for _ in range(5):
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
    assert codes.split() == ["75"] * 5
    assert hits == str(sorted(stored("hits").items()))
