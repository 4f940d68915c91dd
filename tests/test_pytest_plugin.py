"""The plugin of pytest, in sessions of pytest in folders and processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import programs

pytestmark = pytest.mark.usefixtures("forked_programs")

ROOT = Path(__file__).parent.parent
PROGRAM = """
import autostate
from autostate import PersistedDict
progress = PersistedDict("progress", page=1)
def work():
    progress["page"] += 1
    autostate.flush()
if __name__ == "__main__":
    work()
    print(progress["page"], autostate.configure().url)
"""
"""A program as its author wrote it, without a thought of tests."""

TESTS = """
import autostate, crawl
def test_in_memory():
    crawl.work()
    assert autostate.configure().url == "memory:"
"""

Session = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an installer writes about the entry point of pyproject.toml."""
    folder = tmp_path_factory.mktemp("site")
    about = folder / "autostate_plugin-0.dist-info"
    about.mkdir()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [(name, module)] = project["entry-points"]["pytest11"].items()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: autostate-plugin\nVersion: 0\n")
    (about / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
    return folder


@pytest.fixture
def session(installed: Path, isolated: Path) -> Session:
    """Run pytest over some files, in a project of its own."""
    project = isolated / "project"
    project.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(installed))),
        "PYTEST_DEBUG_TEMPROOT": str(isolated),
    }
    (project / "pytest.ini").write_text("[pytest]\n")

    def run(
        *options: str, env: dict[str, str] | None = None, passes: bool = True, **files: str
    ) -> subprocess.CompletedProcess[str]:
        for name, content in files.items():
            (project / f"{name}.py").write_text(content)
        done = programs.run_python(
            "-m",
            "pytest",
            *(f"-pno:{name}" for name in ("cacheprovider", "asyncio", "hypothesispytest")),
            *options,
            folder=project,
            env={**environment, **(env or {})},
        )
        assert (done.returncode == 0) is passes, done.stdout + done.stderr
        return done

    return run


def stores(folder: Path) -> list[str]:
    """The files of stores in a project."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.db"))


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


class TestRestored:
    """The fixture that puts the state back."""

    def test_everything_is_as_it_was(self, session: Session) -> None:
        """Of all kinds: content, types, the objects themselves, whatever a test does to them."""
        session("-o", "autostate_restored=true", shop=SHOP, test_shop=SHOP_TESTS)

    def test_only_where_it_is_asked_for(self, session: Session) -> None:
        """Without the fixture a test leaves what it wrote."""
        tests = """
            import crawl
            def test_one():
                crawl.work()
            def test_two(autostate_restored):
                assert crawl.progress == {"page": 2}
                crawl.work()
            def test_three():
                assert crawl.progress == {"page": 2}
        """
        session(crawl=PROGRAM, test_crawl=dedent(tests))

    def test_other_kinds_of_tests(self, session: Session) -> None:
        """Coroutines, threads, unittest's classes; and a test that fails."""
        tests = """
            import asyncio, threading, unittest, autostate, crawl, pytest
            async def change():
                crawl.progress["page"] += 1
                await autostate.durable()
                crawl.progress["more"] = [1]
            @pytest.mark.parametrize("turn", range(2))
            def test_a_coroutine(turn):
                assert crawl.progress == {"page": 1}
                asyncio.run(change())
            @pytest.mark.parametrize("turn", range(2))
            def test_a_thread(turn):
                assert crawl.progress == {"page": 1}
                thread = threading.Thread(target=crawl.work)
                thread.start()
                thread.join()
            class TestCase(unittest.TestCase):
                def test_one(self):
                    assert crawl.progress == {"page": 1}
                    crawl.work()
                test_two = test_one
            @pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
            @pytest.mark.parametrize("turn", range(2))
            def test_a_failure(turn):
                assert crawl.progress == {"page": 1}
                with autostate.atomic():
                    crawl.progress["page"] = 1 / 0
            def test_at_last():
                assert crawl.progress == {"page": 1}
        """
        session("-o", "autostate_restored=true", crawl=PROGRAM, test_crawl=dedent(tests))

    def test_the_store_has_it_too(self, session: Session) -> None:
        """What is restored is saved like any other change."""
        tests = """
            import autostate, crawl
            def test_one(autostate_restored):
                crawl.progress["page"] = 7
                crawl.progress["more"] = {"a": [1]}
                autostate.PersistedDict("new", a=1)
                autostate.flush()
            def test_two(autostate_restart):
                with autostate_restart() as manager:
                    assert autostate.PersistedDict("progress") == {"page": 1}
                    assert not autostate.info(autostate.PersistedDict("new")).resumed
        """
        session(crawl=PROGRAM, test_crawl=dedent(tests))

    def test_what_is_noted_is_tracked_as_before(self, session: Session) -> None:
        """To note a plain container does not keep it from being adopted: it would be compared."""
        crawl = """
            import autostate
            autostate.configure(debounce=1000)
            progress = autostate.PersistedDict("progress", tags=["a"])
        """
        tests = """
            import autostate, crawl
            def test(autostate_restored):
                autostate.flush()
                assert isinstance(crawl.progress["tags"], autostate.PersistedList)
        """
        session(crawl=dedent(crawl), test_crawl=dedent(tests))

    def test_a_module_that_a_test_imports(self, session: Session) -> None:
        """Its state objects are deleted with the test, and a warning says so."""
        tests = """
            def test_one(autostate_restored):
                import crawl
                crawl.work()
        """
        done = session(crawl=PROGRAM, test_crawl=dedent(tests))
        assert "PytestWarning: crawl.progress: created in this test" in done.stdout

    def test_settings_and_closed_stores(self, session: Session) -> None:
        """A test may configure, and close: the next one finds neither."""
        tests = """
            import autostate, crawl
            def test_one(autostate_restored):
                crawl.progress["page"] = 5
                autostate.configure(debounce=9)
            def test_two(autostate_restored):
                assert autostate.configure().settings.debounce != 9
                crawl.progress["page"] = 5
                autostate.configure().close()
            def test_three(autostate_restored):
                assert crawl.progress == {"page": 1}
                assert autostate.info(crawl.progress).name == "progress"
                crawl.work()
        """
        session(crawl=PROGRAM, test_crawl=dedent(tests))


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


def dedent(text: str) -> str:
    """The code of a test file, without the indentation that it has here."""
    lines = text.split("\n")
    least = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[least:] for line in lines)


SHOP = """
import dataclasses, random
from collections import OrderedDict, defaultdict, deque
from autostate import *

@persisted
class Shop:
    def __init__(self):
        self.page, self.tags, self.gone = 1, ["a"], None
@persisted
@dataclasses.dataclass(slots=True)
class Slotted:
    number: int = 1
    names: set = dataclasses.field(default_factory=lambda: {"a"})
@dataclasses.dataclass
class Point:
    x: int = 0
    around: list = dataclasses.field(default_factory=list)
register(Point, "point")
progress = PersistedDict("progress", page=1, deep={"a": {"b": [1, {2}]}}, point=Point(1, [2]))
progress["same"] = progress["deep"]["a"]
progress["order"] = OrderedDict(a=1, b=2)
progress["lists"] = defaultdict(list, a=[1])
progress["queue"] = deque([1, 2], 3)
progress["bytes"] = bytearray(b"abc")
big = PersistedDict("big", {number: [number] for number in range(1500)})
seen = PersistedSet("seen")
seen.update({1, "a", (1, 2)})
hits = PersistedCounter("hits", a=1)
items = PersistedList("items", [1, [2], {"c": 3}])
last = PersistedDeque("last", [1, 2])
dice = proxy("dice", random.Random(7))
shop, slotted = Shop(), Slotted()
everything = {
    "progress": progress, "big": big, "seen": seen, "hits": hits, "items": items, "last": last,
}
"""

SHOP_TESTS = """
import copy, random, pytest, autostate
from shop import *
from autostate import resume

class Number(Point):
    pass

for number in resume("numbers", range(10)):
    if number == 3:
        break

def parts(value, path=""):
    yield path, value
    inside = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, (list, deque)):
        inside = enumerate(value)
    elif isinstance(value, Point):
        inside = vars(value).items()
    for key, one in inside:
        yield from parts(one, f"{path}/{key}")

def objects():
    for name, root in everything.items():
        yield from parts(root, name)
    for one in (shop, slotted):
        for name in ("page", "tags", "gone", "number", "names"):
            yield f"{type(one).__name__}/{name}", getattr(one, name, None)

autostate.flush()
BEFORE = dict(objects())
TYPES = {path: type(value).__mro__[-2] for path, value in BEFORE.items()}
PLAIN = copy.deepcopy(everything)
ROLLS = None

def change_inside():
    progress["deep"]["a"]["b"][1].add(9)
    progress["deep"]["a"]["b"].append(5)
    progress["point"].x += 1
    progress["point"].around.append({})
    progress["order"].move_to_end("a")
    progress["lists"]["new"].append(1)
    progress["queue"].extend("xyz")
    progress["bytes"].extend(b"d")
    big[7].append(0)
    items[1] += [3]
    items[2]["d"] = items[1]
    shop.tags.append("b")
    slotted.names.add("b")
    dice.random()

def change_roots():
    for key in list(progress)[:3]:
        progress[key] = "other"
    progress["page"] = 7
    del big[3]
    big.update({number: None for number in range(1000, 2000)})
    seen.clear()
    hits["b"] += 2
    items.reverse()
    items.insert(0, seen)
    last.rotate(1)
    last.extend(range(100))
    shop.page, shop.new = 2, 3
    del shop.gone
    slotted.number = 5

def empty_all():
    for root in everything.values():
        root.clear()
    shop.tags = slotted.names = None

def delete_all():
    change_inside()
    for one in (*everything.values(), shop, slotted, "dice"):
        autostate.delete(one)
    change_roots()

def begin_again():
    for name, root in everything.items():
        autostate.delete(root)
    for name, root in everything.items():
        again = type(root)(name)
        assert again is not root and not again
    PersistedSet("seen").add("other")

def offer():
    PersistedDict("progress", later=1)
    assert progress["later"] == 1
    PersistedDict("created")["x"] = progress["deep"]
    for number in resume("numbers", range(10)):
        pass

def go_on_with_a_loop():
    assert next(iter(resume("numbers", range(10)))) == 3
    for number in resume("others", range(5)):
        break

def fail():
    with pytest.raises(ZeroDivisionError), autostate.atomic():
        change_inside()
        change_roots()
        1 / 0
    with autostate.atomic():
        empty_all()

STEPS = [
    change_inside, change_roots, empty_all, delete_all, begin_again, offer, go_on_with_a_loop, fail
]

@pytest.mark.parametrize("flushed", ["before", "after", "not"])
@pytest.mark.parametrize("step", [*STEPS, lambda: None], ids=lambda step: step.__name__)
def test_everything(step, flushed, autostate_restart):
    global ROLLS
    now = dict(objects())
    assert now.keys() == BEFORE.keys()
    different = [path for path in now if now[path] is not BEFORE[path]]
    assert not different
    assert copy.deepcopy(everything) == PLAIN
    assert list(progress["order"]) == ["a", "b"]
    assert progress["bytes"] == b"abc"
    assert (vars(shop), shop.tags) == ({"page": 1, "tags": ["a"], "gone": None}, ["a"])
    assert (slotted.number, slotted.names) == (1, {"a"})
    rolls = dice.getstate()
    ROLLS = ROLLS or rolls
    assert rolls == ROLLS
    for name, root in everything.items():
        assert autostate.info(root).name == name
    assert autostate.info(shop).name == "Shop"
    with pytest.raises(LookupError):
        autostate.info("created")
    if flushed == "before":
        with autostate_restart():
            for name, root in everything.items():
                assert type(root)(name) == root, name
            assert vars(Shop()) == vars(shop)
            assert next(iter(resume("numbers", range(10)))) == 3
    step()
    if flushed == "after":
        autostate.flush()
"""
"""Each of these changes everything in another way; each test looks whether it was put back."""
