"""The name of the running program, which is the name of its store unless one is configured.

The name comes from `sys.argv`, which children of `multiprocessing` have from their parent, whatever
way they were started: so all of them use the same store. The fork server has `sys.argv`, too, in
Python 3.13.12, 3.14.3 and later (gh-143706); before, it has at most the path of the main module.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

INTERACTIVE: Final = "interactive"
"""The name for a process without a program: a shell, `python -c`."""

_SHELLS: Final = frozenset({"", "-c", "-", "-m", "ipython", "ipython3", "bpython", "ptpython"})
_KERNELS: Final = frozenset(
    {
        *("ipykernel_launcher", "ipykernel", "colab_kernel_launcher", "db_ipykernel_launcher"),
        "spyder_kernels.console",
    }
)
_SERVERS: Final = frozenset(
    [
        "celery",
        "daphne",
        "dramatiq",
        "fastapi",
        "flask",
        "granian",
        "gunicorn",
        "huey",
        "hypercorn",
        "marimo",
        "rq",
        "streamlit",
        "taskiq",
        "uvicorn",
        "uwsgi",
        "waitress-serve",
    ]
)
_NOT_ALLOWED: Final = r"[^\w.-]+"
_APPLICATION: Final = r"([A-Za-z_][\w.]*):[A-Za-z_][\w.]*(?:\(.*\))?"
_LONGEST: Final = 100
_NOTEBOOK: Final = r"\.(ipynb|py|md|Rmd|qmd)$"
"""The ends of files that are notebooks, those of jupytext too."""
_OF_VS_CODE: Final = r"-jvsc-[\w-]+$"
"""What VS Code adds to the name of a notebook on a server, anew in each session."""
_RANDOM: Final = r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}"
"""A part of the names that Jupyter gives to consoles, anew for each."""
_OF_COMMANDS: Final = frozenset({"bin", "sbin", "Scripts"})
"""Folders whose names say nothing about a program."""
_FORK_SERVER: Final = "from multiprocessing.forkserver import main; main("
"""A part of the code after `-c` with which multiprocessing starts its fork server."""
_MAIN: Final = r"""'main_path': (['"])(.+?)\1"""


def name(
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    here: bool = False,
) -> str:
    """Give a name for the running program: of the script, module, notebook or application.

    Args:
        argv: As `sys.argv`, which it is by default.
        environ: The environment variables; those of the process by default.
        here: Distinguish the script, or notebook, from others of its name, by its place below the
            working directory.

    Returns:
        A text that can be the name of a file. "interactive" for a shell or `python -c`.

    Raises:
        ImportError: This is a fork server of multiprocessing, which does not know its program. It
            then skips the modules that it should import before it forks; its children import them.

    Example:
        >>> name(["/srv/crawl.py", "--all"])
        'crawl'
        >>> name(["/srv/crawl.py", "--all"], here=True)
        'srv.crawl'
        >>> name(["/usr/bin/uvicorn", "--workers", "4", "shop.web:app"])
        'shop.web'
    """
    argv = getattr(sys, "argv", []) if argv is None else argv
    environ = os.environ if environ is None else environ
    program = argv[0] if argv else ""
    if program in _SHELLS:
        program = _main_of_fork_server()
    if program in _SHELLS:
        return INTERACTIVE
    module = _module(program)
    if module in _SHELLS:
        return INTERACTIVE
    if module in _KERNELS:
        return _tidy(_of_notebook(environ, here=here)) or INTERACTIVE
    if module in _SERVERS:
        return _tidy(next(_applications(argv[1:]), module))
    return _tidy(_path_of_script(program) if here else module) or INTERACTIVE


def named(text: str, *, here: bool = False) -> str:
    """Replace `{program}` by the name of the running program."""
    return text.replace("{program}", name(here=here)) if "{program}" in text else text


def in_child() -> bool:
    """Tell whether multiprocessing started this process, as a worker; import nothing for it.

    While such a process imports the main module it does not know its parent yet, but it has a mark
    that it is inheriting.
    """
    process: Any = sys.modules.get("multiprocessing.process")
    if process is None:
        return False
    importing = getattr(process.current_process(), "_inheriting", False)
    return importing or process.parent_process() is not None


def in_fork_server() -> bool:
    """Tell whether this is the fork server of multiprocessing, or was forked from it."""
    return bool(_command_of_fork_server())


def _command_of_fork_server() -> str:
    return next((one for one in sys.orig_argv if _FORK_SERVER in one), "")


def _main_of_fork_server() -> str:
    """Give the path of the main module of this fork server's program; "" if there is none."""
    command = _command_of_fork_server()
    if found := re.search(_MAIN, command):
        return found[2]
    if command and "sys_argv" not in command and not in_child():
        raise ImportError(
            "state objects cannot be preloaded here: before Python 3.13.12 and 3.14.3 the fork "
            "server of multiprocessing does not know which program it works for. Name the store by "
            "AUTOSTATE_URL or configure(), or leave the module out of set_forkserver_preload()"
        )
    return ""


def is_notebook() -> bool:
    """Tell whether this is a notebook's kernel, whose event loop is blocked while a cell runs."""
    return _module(getattr(sys, "argv", [""])[0]) in _KERNELS


def _of_notebook(environ: Mapping[str, str], *, here: bool) -> str:
    """Give the name of the notebook whose kernel this is; "" if nothing tells it.

    Servers of Jupyter put its path into the environment, as VS Code does since 2025. Before, VS
    Code gave the path to the main module alone.
    """
    told = getattr(sys.modules.get("__main__"), "__vsc_ipynb_file__", "")
    path = environ.get("JPY_SESSION_NAME") or (told if isinstance(told, str) else "")
    folder, file = os.path.split(os.path.normpath(path) if path else "")
    name = re.sub(_OF_VS_CODE, "", re.sub(_NOTEBOOK, "", file))
    if re.search(_RANDOM, name):
        return ""
    # Else the path is that of another machine, or one below the folder of the server.
    placed = here and os.path.isabs(path) and os.path.isdir(folder)  # noqa: PTH112, PTH117
    return ".".join(_placed(folder, [name])) if placed else name


def _module(program: str) -> str:
    """Give the dotted name of a script, as far as its folders are packages."""
    return ".".join(_located(program)[1])


def _located(program: str) -> tuple[str, list[str]]:
    """Give the folder of a script, "" in a package, and the parts of its dotted name there."""
    folder, file = os.path.split(_absolute(program))
    stem = file.removesuffix(".py").removesuffix(".pyz").removesuffix(".exe")
    parts, inside = [stem], folder
    while os.path.exists(os.path.join(folder, "__init__.py")):  # noqa: PTH110, PTH118
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    if parts == ["__main__"]:
        inside, name = os.path.split(folder)
        return inside, [name]
    if stem == "__main__":
        del parts[-1]
    return folder if folder == inside else "", parts


def _path_of_script(program: str) -> str:
    """Give a dotted name that differs between scripts of the same name in different folders.

    It begins with the folders below the working directory, or elsewhere with the script's folder.
    The name of a module in a package stays as it is.
    """
    folder, parts = _located(program)
    return ".".join(_placed(folder, parts) if folder else parts)


def _placed(folder: str, parts: list[str]) -> list[str]:
    """Put the folders below the working directory, or elsewhere the folder, before a name."""
    here = os.path.realpath(_working_directory())
    between = os.path.relpath(os.path.realpath(folder), here)
    if between.startswith(os.pardir):
        between = os.path.basename(folder)  # noqa: PTH119
    if between == os.curdir or between in _OF_COMMANDS:
        return parts
    return [between.replace(os.sep, "."), *parts]


def _absolute(program: str) -> str:
    """Give the path of a script, also if the program has changed its working directory."""
    known = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    if known.endswith(os.path.normpath(program)):
        program = known
    elif in_child():
        from multiprocessing import process

        began: str | None = vars(process).get("ORIGINAL_DIR")
        there = os.path.join(began or "", program)  # noqa: PTH118
        program = there if os.path.exists(there) else program  # noqa: PTH110
    return os.path.normpath(os.path.join(_working_directory(), program))  # noqa: PTH118


def _working_directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:  # the folder was deleted
        return os.sep


def _applications(arguments: Sequence[str]) -> Iterator[str]:
    """Find the applications in a server's arguments: `shop.web:app`, `-A shop`, `shop.py`."""
    for at, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in ("-A", "--app"):
            yield (value if equals else "".join(arguments[at + 1 : at + 2])).partition(":")[0]
    for argument in arguments:
        if found := re.fullmatch(_APPLICATION, argument):
            yield found[1]
    for argument in arguments:
        if argument.endswith(".py"):
            yield os.path.basename(argument).removesuffix(".py")  # noqa: PTH119


def _tidy(text: str) -> str:
    """Make a name that every file system accepts."""
    return re.sub(_NOT_ALLOWED, "-", text).strip(".-")[:_LONGEST]
