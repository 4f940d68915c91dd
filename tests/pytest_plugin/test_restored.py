"""The state is put back after each test."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.sessions import PROGRAM, SHOP, Session, dedent

pytestmark = pytest.mark.usefixtures("forked_programs")


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


SHOP_TESTS = """
import random, pytest, autostate
from shop import *
from copy import deepcopy
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
PLAIN = deepcopy(everything)
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
    assert deepcopy(everything) == PLAIN
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
