"""The store of a session: where it lies, and what becomes of stores that tests open."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pytest_plugin.sessions import PROGRAM, ROOT, Session, dedent, stores

pytestmark = pytest.mark.usefixtures("forked_programs")


TESTS = """
import autostate, crawl
def test_in_memory():
    crawl.work()
    assert autostate.configure().url == "memory:"
"""


class TestTheStore:
    """Where the state of a program under test is kept."""

    def test_a_module_imported_while_tests_are_collected(
        self, session: Session, isolated: Path
    ) -> None:
        """Its state objects live in memory, and the program's own store is not made."""
        session(crawl=PROGRAM, test_crawl=TESTS)
        assert stores(isolated) == []

    def test_a_module_imported_by_conftest(self, session: Session, isolated: Path) -> None:
        """Which pytest loads before it configures plugins."""
        session(crawl=PROGRAM, conftest="import crawl", test_crawl=TESTS)
        assert stores(isolated) == []

    def test_the_programs_store_is_left_as_it_is(self, session: Session, isolated: Path) -> None:
        """A test begins from nothing, and the program later goes on from where it was."""
        project = isolated / "project"
        (project / "crawl.py").write_text(PROGRAM)
        run = [sys.executable, "crawl.py"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        for page in ("2", "3"):
            done = subprocess.run(run, cwd=project, env=env, capture_output=True, check=True)
            assert done.stdout.decode().split()[0] == page
        before = (project / ".autostate/crawl.db").read_bytes()
        begins_anew = TESTS.replace("crawl.work()", "assert crawl.progress == {'page': 1}")
        session(crawl=PROGRAM, test_crawl=begins_anew + "    crawl.work()")
        assert (project / ".autostate/crawl.db").read_bytes() == before
        assert stores(project) == [".autostate/crawl.db"]

    def test_a_url_in_the_environment_is_no_permission(
        self, session: Session, isolated: Path
    ) -> None:
        """Whoever has set AUTOSTATE_URL has meant the program."""
        url = f"sqlite:///{isolated}/real.db"
        session(env={"AUTOSTATE_URL": url}, crawl=PROGRAM, test_crawl=TESTS)
        assert stores(isolated) == []

    def test_a_shared_url_in_the_environment(self, session: Session, isolated: Path) -> None:
        """It is that of the program's shared state, which tests do not count for."""
        tests = """
            import os, subprocess, sys, autostate
            PROGRAM = "from autostate import SharedCounter; SharedCounter('hits')['page'] += 1"
            def test():
                autostate.SharedCounter("hits")["page"] += 1
                autostate.flush()
                assert "AUTOSTATE_SHARED_URL" not in os.environ
                subprocess.run([sys.executable, "-c", PROGRAM], check=True)
        """
        session(env={"AUTOSTATE_SHARED_URL": f"sqlite:///{isolated}/s.db"}, test_it=dedent(tests))
        assert stores(isolated) == []

    def test_what_is_shared(self, session: Session, isolated: Path) -> None:
        """The test, its forked children and its subprocesses share, as they do outside of tests."""
        tests = """
            import os, subprocess, sys, autostate
            hits = autostate.SharedCounter("hits")
            PROGRAM = "from autostate import SharedCounter; SharedCounter('hits')['page'] += 1"
            def test():
                hits["page"] += 1
                if not (pid := os.fork()):
                    hits["page"] += 1
                    autostate.flush()
                    os._exit(0)
                os.waitpid(pid, 0)
                subprocess.run([sys.executable, "-c", PROGRAM], check=True)
                hits.refresh()
                assert hits["page"] == 3
            def test_that_leaves_changes():
                hits["page"] += 1
        """
        temporary = isolated / "temporary"
        temporary.mkdir()
        session(env={"TMPDIR": str(temporary)}, test_it=dedent(tests))
        assert stores(isolated) == []
        assert not list(temporary.glob("autostate-*"))

    def test_a_url_that_a_test_sets(self, session: Session, isolated: Path) -> None:
        """What a test itself says holds."""
        tests = """
            import autostate
            def test(tmp_path, monkeypatch):
                monkeypatch.setenv("AUTOSTATE_URL", f"sqlite:///{tmp_path}/mine.db")
                autostate.PersistedDict("d")["x"] = 1
                autostate.flush()
                assert (tmp_path / "mine.db").exists()
        """
        session(test_it=dedent(tests))

    def test_project(self, session: Session, isolated: Path) -> None:
        """The ini option asks for the store that the program would use."""
        url = f"sqlite:///{isolated}/real.db"
        tests = TESTS.replace('"memory:"', repr(url))
        options = ("-o", "autostate_store=project")
        session(*options, env={"AUTOSTATE_URL": url}, crawl=PROGRAM, test_crawl=tests)
        assert stores(isolated) == ["real.db"]

    @pytest.mark.parametrize("url", ["sqlite:///tests.db", "sqlite:///stores/{program}.db"])
    def test_a_url_in_the_configuration(self, session: Session, isolated: Path, url: str) -> None:
        """It counts for subprocesses too; a relative path begins at the configuration file."""
        tests = """
            import os, subprocess, sys, autostate, crawl
            EXPECTED = "2 " if "{program}" in os.environ["AUTOSTATE_URL"] else "3 "
            def test(monkeypatch, tmp_path):
                crawl.work()
                autostate.configure().close()
                monkeypatch.chdir(tmp_path)
                run = [sys.executable, crawl.__file__]
                done = subprocess.run(run, capture_output=True, text=True)
                assert done.stdout.startswith(EXPECTED), done
        """
        options = ("-o", f"autostate_store={url}")
        session(*options, crawl=PROGRAM, test_crawl=dedent(tests))
        found = ["stores/crawl.db", "stores/pytest.db"] if "{" in url else ["tests.db"]
        assert stores(isolated / "project") == found

    def test_the_url_of_a_server_is_a_permission(self, session: Session, isolated: Path) -> None:
        """Whatever the order of its parameters, and with credentials, which are told nobody."""
        tests = """
            import autostate, pytest
            def test_permitted():
                with pytest.raises(autostate.StoreError) as caught:
                    autostate.PersistedDict("d")
                assert "would write" not in str(caught.value)
                assert "sesame" not in str(caught.value)
        """
        url = "redis://user:sesame@127.0.0.1:1/0?state=s&client_name=me"
        options = ("-o", f"autostate_store={url}")
        settings = "import os; os.environ['AUTOSTATE_FLUSH_TIMEOUT'] = '0.05'"
        session(*options, conftest=settings, test_crawl=dedent(tests))

    def test_without_the_plugin(self, session: Session, isolated: Path) -> None:
        """Nothing is changed by it."""
        tests = TESTS.replace('== "memory:"', '.endswith(".autostate/pytest.db")')
        session("-p", "no:autostate", crawl=PROGRAM, test_crawl=tests)
        assert stores(isolated) == ["project/.autostate/pytest.db"]

    def test_xdist(self, session: Session, isolated: Path) -> None:
        """Each worker has a state of its own, and stores for its subprocesses."""
        tests = """
            import os, pytest, subprocess, sys, autostate, crawl
            @pytest.mark.parametrize("turn", range(6))
            def test(turn):
                assert os.environ["PYTEST_XDIST_WORKER"]
                former = crawl.progress["page"]
                crawl.work()
                assert crawl.progress["page"] == former + 1
                assert autostate.configure().url == "memory:"
                run = [sys.executable, "crawl.py"]
                done = subprocess.run(run, capture_output=True, text=True)
                page, url = done.stdout.split()
                print(url)
                assert done.returncode == 0 and "autostate-pytest-" in url
        """
        done = session("-n", "2", "-rP", crawl=PROGRAM, test_crawl=dedent(tests))
        assert "6 passed" in done.stdout
        assert len(set(re.findall(r"autostate-pytest-\w+", done.stdout))) == 2
        assert stores(isolated) == []

    def test_what_is_temporary_is_removed(self, session: Session, isolated: Path) -> None:
        """The folder with the stores of subprocesses goes with the session."""
        tests = """
            import os, subprocess, sys
            def test():
                run = [sys.executable, "crawl.py"]
                print(subprocess.run(run, capture_output=True, text=True).stdout)
        """
        done = session("-rP", crawl=PROGRAM, test_crawl=dedent(tests))
        [path] = re.findall(r"sqlite:///(\S+/crawl.db)", done.stdout)
        assert not Path(path).parent.parent.exists()

    def test_a_session_inside_a_session(self, session: Session) -> None:
        """Each has its own; the outer one goes on with what it had."""
        inner = 'import os, autostate\ndef test():\n    print(os.environ["AUTOSTATE_URL"])'
        tests = f"""
            import os, autostate, crawl
            pytest_plugins = ["pytester"]
            def test(pytester):
                crawl.work()
                url = os.environ["AUTOSTATE_URL"]
                pytester.makepyfile(test_inner={inner!r})
                for run in (pytester.runpytest_inprocess, pytester.runpytest_subprocess):
                    done = run("-rP", "-p", "no:asyncio")
                    assert done.ret == 0
                    assert "autostate-pytest-" in done.stdout.str()
                    assert url not in done.stdout.str()
                    assert os.environ["AUTOSTATE_URL"] == url
                crawl.work()
                assert crawl.progress == {{"page": 3}}
                assert autostate.info(crawl.progress).name == "progress"
        """
        session(crawl=PROGRAM, test_crawl=dedent(tests))


class TestExplicitStores:
    """A program that says itself where it saves."""

    CONFIGURED = 'import autostate\nautostate.configure("sqlite:///data.db")\n' + PROGRAM

    @pytest.mark.parametrize("store", ["", "memory:"])
    def test_the_programs_own_is_refused(
        self, session: Session, isolated: Path, store: str
    ) -> None:
        """Tests would write to it; the error says what to do."""
        option = f"autostate_store={store}"
        done = session("-o", option, passes=False, crawl=self.CONFIGURED, test_crawl=TESTS)
        assert "this test would write to sqlite:///data.db" in done.stdout
        assert "set autostate_store to this URL, or to `project`" in done.stdout
        assert stores(isolated) == []

    def test_so_is_one_that_is_opened(self, session: Session, isolated: Path) -> None:
        """Also by a path, or in the home directory, or a folder of Apify's."""
        tests = """
            import autostate, pathlib, pytest
            @pytest.mark.parametrize("url", ["sqlite:///~/x.db", pathlib.Path("x.db"), "apify:"])
            def test(url, monkeypatch):
                monkeypatch.setenv("HOME", str(pathlib.Path.cwd()))
                with pytest.raises(autostate.StoreError, match="would write"):
                    with autostate.open(url):
                        autostate.PersistedDict("d")
        """
        session(test_it=dedent(tests))
        assert stores(isolated) == []
        assert not (isolated / "project/storage").exists()

    def test_reading_is_not(self, session: Session, isolated: Path) -> None:
        """Nothing is written to a store that is opened for reading only."""
        run = [sys.executable, "-c", PROGRAM]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "AUTOSTATE_URL": "sqlite:///data.db"}
        subprocess.run(run, cwd=isolated / "project", env=env, check=True)
        tests = """
            import autostate
            def test():
                with autostate.open("sqlite:///data.db", readonly=True):
                    assert autostate.PersistedDict("progress") == {"page": 2}
        """
        session(test_it=dedent(tests))

    @pytest.mark.parametrize("option", ["--verbose", "--basetemp=temporary"])
    def test_one_in_a_temporary_folder_is_used(self, session: Session, option: str) -> None:
        """That is what a test says, and nothing stands in for it."""
        tests = """
            import autostate
            def test(tmp_path, monkeypatch, autostate_restored):
                monkeypatch.chdir(tmp_path)
                autostate.configure("sqlite:///x.db")
                autostate.PersistedDict("d")["x"] = 1
                autostate.flush()
                assert (tmp_path / "x.db").exists()
            def test_again(tmp_path, autostate_restored):
                autostate.configure(f"sqlite:///{tmp_path}/y.db")
                assert autostate.PersistedDict("d") == {}
            def test_at_last():
                assert autostate.configure().url == "memory:"
        """
        session(option, test_it=dedent(tests))

    def test_project_allows_it(self, session: Session, isolated: Path) -> None:
        """The configuration of pytest is where tests are allowed to write."""
        tests = TESTS.replace('== "memory:"', '.endswith("project/data.db")')
        session("-o", "autostate_store=project", crawl=self.CONFIGURED, test_crawl=tests)
        assert stores(isolated) == ["project/data.db"]

    def test_a_url_from_the_environment(self, session: Session, isolated: Path) -> None:
        """A program that asks the environment first is tested in memory, as any other one."""
        asks = 'os.environ.get("AUTOSTATE_URL", "sqlite:///data.db")'
        program = "import os" + self.CONFIGURED.replace('"sqlite:///data.db"', asks)
        program = program.replace("import osimport", "import os\nimport")
        tests = (
            TESTS
            + """
import subprocess, sys
def test_in_a_subprocess():
    done = subprocess.run([sys.executable, "crawl.py"], capture_output=True, text=True)
    page, url = done.stdout.split()
    print(url)
    assert (done.returncode, page) == (0, "2") and url.endswith("/crawl.db"), done
"""
        )
        done = session("-rP", crawl=program, test_crawl=tests)
        assert stores(isolated) == []
        [path] = re.findall(r"sqlite:///(\S+/crawl.db)", done.stdout)
        assert not Path(path).parent.parent.exists()
        assert "deleted" not in done.stdout + done.stderr

    @pytest.mark.parametrize("url", ["sqlite:///data.db", "sqlite:///stores/../data.db"])
    def test_the_url_of_the_programs_own_allows_it(
        self, session: Session, isolated: Path, url: str
    ) -> None:
        """In the configuration and in the program it may be relative."""
        tests = TESTS.replace('== "memory:"', '.endswith("data.db")')
        session("-o", f"autostate_store={url}", crawl=self.CONFIGURED, test_crawl=tests)
        assert stores(isolated) == ["project/data.db"]

    def test_what_is_no_url(self, session: Session) -> None:
        """The error names the option."""
        done = session("-o", "autostate_store=projekt", passes=False, test_crawl=TESTS)
        assert "autostate_store is 'projekt': write `project`, or the URL" in done.stderr
