"""What children changed past the methods of containers is told at their end."""

from __future__ import annotations

import textwrap

import pytest

from tests.processes.programs import ORPHAN, Processes, hear, recovered, stored

CLASSES = """
from dataclasses import dataclass
@dataclass
class Part:
    n: int = 0
@autostate.persisted
class Shop:
    page: int = 0
    part: Part | None = None
shop = Shop()
held = PersistedDict("held")
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_classes_of_the_program_are_no_changes_of_its_children(
    processes: Processes, method: str
) -> None:
    """They have the program as `__mp_main__`, and nothing to save."""
    job = processes.write(
        CLASSES
        + textwrap.dedent(
            """
            import multiprocessing
            def work():
                say(shop.page, shop.part, held)
            if __name__ == "__main__":
                shop.page, shop.part, held["part"] = 1, Part(), Part(2)
                autostate.flush()
                child = multiprocessing.get_context(sys.argv[1]).Process(target=work)
                child.start()
                child.join()
                say(child.exitcode)
            """
        )
    )
    printed = "1 Part(n=0) {'part': Part(n=2)}\n0\n"
    assert processes.run(job, method) == (0, printed, "")


def test_another_name_of_a_class_is_no_change(processes: Processes) -> None:
    """A child that imports the program as a module reads, and has nothing to save."""
    job = processes.write(
        CLASSES
        + textwrap.dedent(
            """
            import subprocess
            if __name__ == "__main__":
                shop.page, shop.part, held["part"] = 1, Part(), Part(2)
                autostate.flush()
                child = [sys.executable, "-c", "import job; print(job.shop.page, job.held)"]
                env = {**os.environ, "AUTOSTATE_URL": autostate.configure().url}
                say(subprocess.run(child, env=env, check=False).returncode)
            """
        )
    )
    assert processes.run(job) == (0, "1 {'part': Part(n=2)}\n0\n", "")


def test_a_renamed_class_is_saved_by_the_child_that_becomes_the_owner(
    processes: Processes,
) -> None:
    """It is no change while the parent lives, and unsaved all the same."""
    job = processes.write(
        ORPHAN
        + textwrap.dedent(
            """
            class Shop:
                page: int = 0
            Shop.__qualname__ = os.environ.get("SHOP", "Shop")
            shop = autostate.persisted(name="shop")(Shop)()
            if __name__ == "__main__":
                shop.page += 1
                autostate.flush()
                os.environ["SHOP"] = "Store"
                multiprocessing.get_context("spawn").Process(target=work).start()
                time.sleep(600)
            """
        )
    )
    parent = processes.working(job)
    parent.kill()
    hear(parent, "saved")
    [shop] = [node for node in recovered() if node.name == "shop"]
    assert stored() == {"page": 1}
    assert shop.metadata["class"] == "__main__:Store"


def test_what_goes_past_the_methods_is_told_at_the_end(processes: Processes) -> None:
    """A plain list that the child holds, a call of the base class: nobody saves them."""
    job = processes.write(
        """
        held = []
        progress = PersistedDict("progress", page=1, held=None)
        progress["held"] = held
        autostate.flush()
        if sys.argv[1] == "held":
            change = lambda: held.append(1)
        else:
            change = lambda: dict.__setitem__(progress, "page", 2)
        pid = os.fork()
        if not pid:
            change()
            sys.exit(0)
        say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    for way in ("held", "base"):
        code, output, error = processes.run(job, way)
        assert (code, output) == (0, "74\n"), error
        assert "LOST" in error
        assert "belongs to process" in error
    assert stored() == {"page": 1, "held": []}


@pytest.mark.parametrize("unsaved", ["everything", "a key", "the list"])
def test_what_goes_past_the_methods_is_told_also_of_what_was_unsaved(
    processes: Processes, unsaved: str
) -> None:
    """At the fork; what the parent has yet to save is one thing, what the child changes another."""
    job = processes.write(
        f"""
        autostate.configure(debounce=600, max_delay=600)
        held = [1]
        progress = PersistedDict("progress", page=1, held=None)
        seen = PersistedSet("seen", [1, 2])
        progress["held"] = held
        if {unsaved!r} != "everything":
            autostate.flush()
            progress["page"] = 7
            seen.discard(1)
        if {unsaved!r} == "the list":
            held.append(7)
        changes = [
            lambda: None,
            lambda: dict.__setitem__(progress, "page", 2),
            lambda: dict.pop(progress, "page"),
            lambda: dict.update(progress, new=1),
            lambda: held.append(2),
            lambda: held.clear(),
            lambda: set.add(seen, 3),
        ]
        def in_a_child(change, *, flushes):
            if pid := os.fork():
                return pid
            try:
                change()
                if flushes:
                    autostate.flush()
            except autostate.StateInUseError:
                os._exit(9)
            sys.exit()
        for flushes in (False, True):
            children = [in_a_child(change, flushes=flushes) for change in changes]
            say(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
        """
    )
    code, output, error = processes.run(job)
    assert (code, output) == (0, "0 74 74 74 74 74 74\n0 9 9 9 9 9 9\n"), error
    assert error.count("LOST") == 6


@pytest.mark.parametrize("unsaved", ["shop.page = 1", "held.append(1)", "shop.tags.append('a')"])
def test_what_the_parent_has_not_saved_at_the_fork_is_no_loss_of_the_child(
    processes: Processes, unsaved: str
) -> None:
    """The parent saves it."""
    job = processes.write(
        f"""
        class Shop:
            pass
        held = []
        shop = autostate.persisted(name="shop")(Shop)()
        shop.page, shop.tags = 0, []
        progress = PersistedDict("progress", held=None)
        progress["held"] = held
        autostate.flush()
        {unsaved}
        if not (pid := os.fork()):
            if "past" in sys.argv:
                vars(shop)["late"] = 1
            sys.exit()
        say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert processes.run(job) == (0, "0\n", "")


def test_what_goes_past_the_methods_in_a_child_of_multiprocessing_is_told(
    processes: Processes,
) -> None:
    """It ends without atexit, and may never have called anything of the library."""
    job = processes.write(
        """
        import multiprocessing
        held = []
        progress = PersistedDict("progress", held=None)
        progress["held"] = held
        autostate.flush()
        if __name__ == "__main__":
            for work in (lambda: held.append(1), lambda: len(held)):
                child = multiprocessing.get_context("fork").Process(target=work)
                child.start()
                child.join()
                say(child.exitcode)
        """
    )
    code, output, error = processes.run(job)
    assert (code, output) == (0, "74\n0\n")
    assert error.count("LOST") == 1
