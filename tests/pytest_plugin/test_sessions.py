"""Processes that tests start, restarts in a test, and sessions without autostate."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.pytest_plugin.sessions import PROGRAM, ROOT, SHOP, Session, dedent, stores

pytestmark = pytest.mark.usefixtures("forked_programs")


class TestProcesses:
    """What tests start."""

    def test_subprocesses(self, session: Session, isolated: Path) -> None:
        """They save to a temporary store, each program to its own, where the next one resumes."""
        tests = """
            import subprocess, sys
            def run(name):
                done = subprocess.run([sys.executable, name], capture_output=True, text=True)
                return done.stdout.split()
            def test():
                first, again = run("crawl.py"), run("crawl.py")
                assert (first[0], again[0]) == ("2", "3")
                assert first[1] == again[1]
                other = run("other.py")
                assert other[0] == "2" and other[1] != first[1]
        """
        session(crawl=PROGRAM, other=PROGRAM, test_crawl=dedent(tests))
        assert stores(isolated) == []

    def test_each_restored_test_has_its_own(self, session: Session) -> None:
        """What one test's subprocesses have saved is not there for those of the next."""
        tests = """
            import subprocess, sys, pytest
            @pytest.mark.parametrize("turn", range(3))
            def test(turn, autostate_restored):
                done = subprocess.run([sys.executable, "crawl.py"], capture_output=True, text=True)
                assert done.stdout.startswith("2 ")
        """
        session(crawl=PROGRAM, test_crawl=dedent(tests))

    def test_an_actor_on_the_local_platform(self, session: Session) -> None:
        """It saves to the store of its run, from which its next container resumes."""
        actor = """
            import asyncio, autostate
            @autostate.actor
            async def main(lives: autostate.PersistedList[int]) -> None:
                lives.append(len(lives))
                print(autostate.configure().url)
            asyncio.run(main())
        """
        tests = """
            import sys
            from autostate.testing import LocalPlatform
            def test():
                with LocalPlatform() as platform:
                    run = platform.start_run([sys.executable, "actor.py"])
                    assert run.wait() == 0
                    run.container.wait_for_output("apify:")
        """
        session(actor=dedent(actor), test_actor=dedent(tests))

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_multiprocessing(self, session: Session, isolated: Path, method: str) -> None:
        """Children write to no store of the program, and leave the state of the test alone."""
        tests = f"""
            import multiprocessing, crawl
            def work(queue):
                crawl.work()
                queue.put(crawl.progress["page"])
            def test():
                crawl.work()
                context = multiprocessing.get_context("{method}")
                queue = context.Queue()
                child = context.Process(target=work, args=(queue,))
                child.start()
                assert queue.get(timeout=60) in (2, 3)
                child.join()
                assert child.exitcode == 0
                assert crawl.progress == {{"page": 2}}
        """
        session(crawl=PROGRAM, test_crawl=dedent(tests))
        assert stores(isolated) == []


class TestRestart:
    """The fixture that shows what the next process would find."""

    def test_what_was_written_is_there(self, session: Session) -> None:
        """As objects of their own, which may be written without touching the others."""
        tests = """
            import shop, autostate
            def test(autostate_restart, autostate_restored):
                shop.shop.tags.append("b")
                shop.items.append({"x": 1})
                for turn in range(2):
                    with autostate_restart():
                        again = shop.Shop()
                        assert again is not shop.shop and again.tags == ["a", "b"]
                        items = autostate.PersistedList("items")
                        assert items == shop.items and items is not shop.items
                        assert autostate.info(items).resumed
                        items.clear()
                        again.tags.append("only here")
                assert shop.items[-1] == {"x": 1} and shop.shop.tags == ["a", "b"]
                assert shop.Shop() is shop.shop
        """
        session(shop=SHOP, test_shop=dedent(tests))

    def test_what_cannot_be_saved(self, session: Session) -> None:
        """It is found by the test, not by the first restart."""
        tests = """
            import threading, autostate, crawl, pytest
            def test(autostate_restart, autostate_restored):
                crawl.progress["lock"] = threading.Lock()
                with pytest.raises(autostate.UnsupportedTypeError, match="lock"):
                    autostate_restart()
        """
        session(crawl=PROGRAM, test_crawl=dedent(tests))

    def test_pickled_values_of_a_file(self, session: Session) -> None:
        """They are signed by a key beside the file, which goes with the copy."""
        tests = """
            import autostate
            def test(autostate_restart):
                jobs = autostate.PersistedDict("jobs", f=autostate.pickled(lambda: 7))
                with autostate_restart():
                    assert autostate.PersistedDict("jobs")["f"]() == 7
        """
        session(test_it=dedent(tests))
        session("-o", "autostate_store=sqlite:///tests.db", test_it=dedent(tests))


def test_the_plugin_is_part_of_what_is_installed() -> None:
    """Its module lies beside the package, where a build has to be told of it."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    for module in pyproject["project"]["entry-points"]["pytest11"].values():
        assert f"{module}.py" in built
        assert (ROOT / f"{module}.py").is_file()


def test_a_session_that_does_not_use_autostate(session: Session) -> None:
    """The plugin imports nothing of it."""
    tests = """
        import sys
        def test(autostate_restored, autostate_restart):
            assert [name for name in sys.modules if name.startswith("autostate")] == []
    """
    session("-o", "autostate_restored=true", test_it=dedent(tests))
