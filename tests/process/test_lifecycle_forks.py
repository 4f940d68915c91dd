"""Forks and children keep away from what their parent owns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.programs import run, stored

pytestmark = pytest.mark.usefixtures("forked_programs")


def test_a_forked_child_cannot_write_while_its_parent_lives(isolated: Path) -> None:
    """It can read; its first write raises before anything has changed, and the parent saves on."""
    status, error = run("""
        a = PersistedDict("a", x=1, nested={"y": [1]})
        autostate.flush()
        a["unsaved"] = True
        pid = os.fork()
        if pid == 0:
            before = repr(a)
            assert PersistedDict("a") is a and a["unsaved"]
            autostate.flush()  # there is nothing to save
            for write in (
                lambda: a.update(x=2),
                lambda: a.__setitem__("child", True),
                lambda: a["nested"]["y"].append(2),
                lambda: autostate.PersistedCounter("new").update("a"),
            ):
                try:
                    write()
                except autostate.StateInUseError as error:
                    assert f"process {os.getppid()}" in str(error)
                    assert error.owner.pid == os.getppid()
                else:
                    sys.exit(6)
            assert repr(a) == before
            with autostate.open("sqlite:///child.db"):  # a state of its own
                PersistedDict("b")["child"] = True
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        a["parent"] = True
        autostate.flush()
    """)
    assert status == 0, error
    assert stored() == {"x": 1, "nested": {"y": [1]}, "unsaved": True, "parent": True}


@pytest.mark.parametrize("forks", [1, 2])
def test_a_forked_child_goes_on_when_its_parent_has_ended(isolated: Path, forks: int) -> None:
    """As a daemon does; while the parent is about to end, the first write waits for that."""
    status, error = run(f"""
        a = PersistedDict("a", x=1, nested={{"y": [1]}})
        autostate.flush()
        a["unsaved"] = True
        for _ in range({forks}):
            if os.fork():
                time.sleep(0.2)
                os._exit(0)
            os.setsid()
        a["daemon"] = True
        a["nested"]["y"].append(2)
        autostate.flush()
        a["end"] = True
    """)
    assert status == 0, error
    expected = {"x": 1, "nested": {"y": [1, 2]}, "unsaved": True, "daemon": True, "end": True}
    assert stored() == expected


def test_a_forked_child_does_not_go_on_from_what_its_parent_has_replaced(isolated: Path) -> None:
    """The parent has saved since the fork: what the child holds is old."""
    status, error = run("""
        a = PersistedDict("a", x=1)
        autostate.flush()
        if os.fork():
            a["parent"] = True
            sys.exit(0)
        try:
            a["child"] = True
        except autostate.StateInUseError as error:
            assert "has changed" in str(error) or "belongs to" in str(error), str(error)
            assert a == {"x": 1}
            os._exit(0)
        os.write(2, b"it wrote")
    """)
    assert status == 0, error
    assert "it wrote" not in error
    assert stored() == {"x": 1, "parent": True}


def test_a_forked_child_can_be_ended_by_sigterm(isolated: Path) -> None:
    """The handler that it inherited has no thread to save with any more."""
    status, error = run("""
        import multiprocessing
        PersistedDict("a", x=1)
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        child.terminate()
        child.join(20)
        assert child.exitcode == -signal.SIGTERM, child.exitcode
    """)
    assert status == 0, error
    assert stored() == {"x": 1}


def test_a_fork_while_another_thread_holds_a_lock_does_not_hang_the_child(isolated: Path) -> None:
    """Locks of threads that do not exist in the child are not waited for."""
    status, error = run("""
        a = PersistedDict("a", x=1)
        autostate.flush()
        manager = autostate.runtime.api.current_manager()
        lifecycle = autostate.process.lifecycle
        locks = [manager._lock, manager._incarnation.tracker.lock, lifecycle._lock]
        held, release = threading.Event(), threading.Event()
        def hold():
            for lock in locks:
                lock.acquire()
            held.set()
            release.wait()
            for lock in reversed(locks):
                lock.release()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(120)
            try:
                a["child"] = [1, 2]
            except autostate.StateInUseError:
                os._exit(0 if PersistedDict("a") == {"x": 1} else 3)
            os._exit(4)
        assert os.waitpid(pid, 0)[1] == 0
        release.set()
        thread.join()
        a["parent"] = True
    """)
    assert status == 0, error
    assert stored() == {"x": 1, "parent": True}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_does_not_fence_its_parent(isolated: Path, method: str) -> None:
    """Children that import the main module, with its state objects, take over nothing."""
    status, error = run(f"""
        from concurrent.futures import ProcessPoolExecutor
        import multiprocessing
        autostate.configure(debounce=3600 if __name__ == "__main__" else 0)
        a = PersistedDict("a", x=1, done=0)
        def work(number):
            return number * 2
        if __name__ == "__main__":
            with ProcessPoolExecutor(2, multiprocessing.get_context("{method}")) as pool:
                for number in pool.map(work, range(4)):
                    time.sleep(0.1)  # a child that is going to take over does it now
                    a["done"] += 1
            autostate.flush()
            a["end"] = True
    """)
    assert status == 0, error
    assert "taken over" not in error
    assert stored() == {"x": 1, "done": 4, "end": True}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_saves_its_own_state_at_its_end(
    isolated: Path, method: str
) -> None:
    """Although such a child ends without atexit."""
    status, error = run(f"""
        import multiprocessing
        def work():
            autostate.configure("sqlite:///s.db", debounce=3600)
            PersistedDict("a")["child"] = True
        if __name__ == "__main__":
            child = multiprocessing.get_context("{method}").Process(target=work)
            child.start()
            child.join()
            sys.exit(child.exitcode)
    """)
    assert status == 0, error
    assert stored() == {"child": True}
