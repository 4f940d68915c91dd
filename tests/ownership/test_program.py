"""The name of what runs, which is that of its store: the same in all processes of a program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from autostate.ownership import program
from tests.process.programs import ROOT


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("crawl.py --all", "crawl"),
        ("/srv/jobs/nightly crawl.py", "jobs.nightly"),
        ("/srv/jobs/bin/nightly crawl.py", "nightly"),
        ("shops/crawl.py", "shops.crawl"),
        ("shops/../crawl.py", "crawl"),
        ("../crawl.py", "PARENT.crawl"),
        ("shops/__main__.py", "shops"),
        ("/srv/jobs/__main__.py", "srv.jobs"),
        ("./crawl", "crawl"),
        ("-c", "interactive"),
        ("", "interactive"),
        ("/usr/bin/ipython", "interactive"),
        ("/usr/bin/uvicorn shop.web:app", "shop.web"),
        ("/usr/bin/uvicorn --workers 4 --factory shop.web:make", "shop.web"),
        ("/usr/bin/gunicorn -w 4 shop.wsgi", "gunicorn"),
        ("/usr/bin/gunicorn -w 4 shop.wsgi:app()", "shop.wsgi"),
        ("/usr/bin/celery -A shop worker", "shop"),
        ("/usr/bin/celery --app=shop.tasks worker", "shop.tasks"),
        ("/usr/bin/flask --app shop run", "shop"),
        ("/usr/bin/fastapi run shop/main.py", "main"),
        ("/usr/bin/streamlit run dash.py", "dash"),
        ("/usr/bin/marimo edit look.py", "look"),
        ("shop/crawl.py", "shop.crawl"),
        ("shop/__main__.py", "shop"),
        ("inner/shop/__main__.py", "shop"),
        ("inner/shop/crawl.py", "shop.crawl"),
        ("wéird:name*.py", "wéird-name"),
    ],
)
def test_the_name_of_a_program(isolated: Path, command: str, expected: str) -> None:
    """The script, or what a server was told to run."""
    for package in (isolated / "shop", isolated / "inner" / "shop"):
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    expected = expected.replace("PARENT", isolated.parent.name)
    name = program.name(command.split(" "), {}, here=True)
    assert name == expected
    assert name.endswith(program.name(command.split(" "), {}))


KERNEL: Final = ["/usr/lib/python3/ipykernel_launcher.py", "-f", "connection.json"]
UUID: Final = "0d6c3a52-91f5-4c0e-b0f2-6f3a1f0e2b11"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/me/look at shops.ipynb", "look-at-shops"),
        ("look.ipynb", "look"),
        ("notes/v1.2 final.ipynb", "v1.2-final"),
        (f"/home/me/look-jvsc-{UUID}.ipynb", "look"),  # of VS Code, on a server
        (f"look-jvsc-{UUID}", "look"),
        ("/home/me/jupytext.py", "jupytext"),
        ("/home/me/jupytext.md", "jupytext"),
        (f"/home/me/console-1-{UUID}", "interactive"),
        (UUID, "interactive"),
        ("", "interactive"),
    ],
)
def test_the_name_of_a_notebook(path: str, expected: str) -> None:
    """Each has its own; where the server does not say which, they share one."""
    for here in (False, True):
        assert program.name(KERNEL, {"JPY_SESSION_NAME": path}, here=here) == expected


def test_notebooks_of_one_name(isolated: Path) -> None:
    """The kernel of each may run in the folder of the workspace, as VS Code lets it."""
    (isolated / "jobs" / "shops").mkdir(parents=True)
    for path, expected in {
        "look.ipynb": "look",
        "jobs/look.ipynb": "jobs.look",
        f"jobs/shops/look-jvsc-{UUID}.ipynb": "jobs.shops.look",
        "../look.ipynb": f"{isolated.parent.name}.look",
        "nowhere/look.ipynb": "look",
    }.items():
        told = {"JPY_SESSION_NAME": str(isolated / path)}
        assert program.name(KERNEL, told, here=True) == expected
        assert program.name(KERNEL, told) == "look"


def test_a_notebook_of_an_older_vs_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells its path to the main module."""
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__vsc_ipynb_file__", "/home/me/look.ipynb", raising=False)
    assert program.name(KERNEL, {}) == "look"
    assert program.name(KERNEL, {"JPY_SESSION_NAME": "other.ipynb"}) == "other"
    assert program.name(["crawl.py"], {}) == "crawl"
    monkeypatch.setattr(main, "__vsc_ipynb_file__", None)
    assert program.name(KERNEL, {}) == "interactive"


CODE = """
import multiprocessing, sys
from autostate.ownership import program
def tell(): print(program.name(here=True), flush=True)
tell()
if __name__ == "__main__":
    for method in sys.argv[1:]:
        child = multiprocessing.get_context(method).Process(target=tell)
        child.start()
        child.join()
"""


@pytest.mark.parametrize("how", ["script", "module", "package"])
def test_children_have_the_name_of_their_parent(isolated: Path, how: str) -> None:
    """However they are started, and whatever of the main module they have seen."""
    package = isolated / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / ("__main__.py" if how == "package" else "crawl.py")).write_text(CODE)
    command = {
        "script": ["shop/crawl.py"],
        "module": ["-m", "shop.crawl"],
        "package": ["-m", "shop"],
    }
    done = subprocess.run(
        [sys.executable, *command[how], "fork", "spawn", "forkserver"],
        env={"PYTHONPATH": f"{ROOT}:{isolated}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == {"shop" if how == "package" else "shop.crawl"}, done.stdout


@pytest.mark.parametrize("path", ["crawl.py", "absolute"])
def test_a_program_that_goes_elsewhere(isolated: Path, path: str) -> None:
    """It has one name there, however it was started; and so have its children."""
    script = isolated / "jobs" / "crawl.py"
    script.parent.mkdir()
    (isolated / "data").mkdir()
    at_once = "os.chdir('../data')" if path == "crawl.py" else "os.chdir('data')"
    begin = f"import os\nif __name__ == '__main__': {at_once}\n"
    script.write_text(begin + CODE)
    done = subprocess.run(
        [sys.executable, str(script) if path == "absolute" else path, "fork", "spawn"],
        env={"PYTHONPATH": str(ROOT)},
        cwd=isolated if path == "absolute" else script.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == {"jobs.crawl"}, done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("['__main__'], **{'sys_path': ['/'], 'main_path': '/srv/crawl.py'}", "crawl"),
        ("""['__main__'], **{'main_path': "/bin/it's.py", 'sys_path': ['/']}""", "it-s"),
        ("['shop'], sys_argv=sys.argv[1:], **{'sys_path': ['/']}", "interactive"),
        ("['shop'], **{'sys_path': ['/']}", None),
    ],
)
def test_the_fork_server_of_every_version(
    monkeypatch: pytest.MonkeyPatch, arguments: str, named: str | None
) -> None:
    """It knows the main module, or its program's arguments, or has to leave the module out."""
    before = "import sys; " if "sys.argv" in arguments else ""
    command = f"{before}from multiprocessing.forkserver import main; main(5, 7, {arguments})"
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3", "-B", "-c", command])
    if named is not None:
        assert program.name(["-c"], {}) == named
        return
    with pytest.raises(ImportError, match="set_forkserver_preload"):
        program.name(["-c"], {})
