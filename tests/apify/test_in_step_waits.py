"""What waits inside the handler of a request: never for what this request itself has put."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostate.testing import LocalPlatform
from tests.actor_runs import script
from tests.apify.crawling import QUICK, assert_ends, program

pytestmark = pytest.mark.usefixtures("forked_actors")

CRAWL = """
async def work(pages):
    crawler = BasicCrawler(
        max_request_retries=1,
        configure_logging=False,
        concurrency_settings=ConcurrencySettings(
            min_concurrency=AT_ONCE, max_concurrency=AT_ONCE, desired_concurrency=AT_ONCE
        ),
    )

    @crawler.router.default_handler
    async def handle(context):
        n = int(context.request.url.removeprefix(URL))
        pages[str(n)] += 1
HANDLER

    await crawler.run([f"{URL}{n}" for n in range(PAGES)])
"""
LONG = 20.0
"""Seconds that no test takes, unless something waits for itself."""


def crawl(folder: Path, handler: str, *, pages: int = 1, at_once: int = 1) -> list[str]:
    """The command of a crawl with a handler."""
    return program(folder, CRAWL.replace("HANDLER", handler), pages=pages, at_once=at_once)


@pytest.mark.parametrize(
    ("how", "code", "status"), [("exit()", 0, "SUCCEEDED"), ("fail()", 1, "FAILED")]
)
def test_an_actor_ends_in_a_handler(
    platform: LocalPlatform, tmp_path: Path, how: str, code: int, status: str
) -> None:
    """The page that ends it stays in the queue, and so does one in work; the others are done."""
    handler = f"""
        await Actor.push_data({{"page": n}})
        await Actor.charge("page")
        if n == 2:
            await Actor.{how}
        elif n == 3:
            await asyncio.sleep(600)
    """
    command = crawl(tmp_path, handler, pages=4, at_once=2)
    run = platform.start_run(command, env=QUICK, prices={"page": 0.001})
    assert run.wait(LONG) == code, run.output
    assert run.status == status
    assert run.state("pages") == {"0": 1, "1": 1}
    assert [item["page"] for item in run.dataset.items] == [0, 1]
    assert len(run.charges) == 2
    assert sorted(run.queue.unhandled) == ["https://example.com/2", "https://example.com/3"]


def test_an_actor_becomes_another_one_in_a_handler(platform: LocalPlatform, tmp_path: Path) -> None:
    """What the other pages have put arrives before."""
    (tmp_path / "next").mkdir()
    platform.add_actor("next", script(tmp_path / "next", "    async with Actor:\n        pass"))
    handler = """
        await Actor.push_data({"page": n})
        if n == 1:
            await Actor.metamorph("next")
    """
    run = platform.start_run(crawl(tmp_path, handler, pages=2), env=QUICK)
    assert run.wait(LONG) == 0, run.output
    assert [item["page"] for item in run.dataset.items] == [0]
    assert run.queue.unhandled == ["https://example.com/1"]


def test_an_actor_whose_pages_write_in_threads_becomes_another_one(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """No save leaves out what they have written, so they are undone; again if it is refused."""
    platform.traffic.fault("POST", "*/metamorph", status=400, times=1)
    (tmp_path / "next").mkdir()
    platform.add_actor("next", script(tmp_path / "next", "    async with Actor:\n        pass"))
    handler = """
        await Actor.push_data({"page": n})
        if n:
            await asyncio.to_thread(pages.update, {"thread": 1})
        if n == 1:
            while "2" not in pages:  # which begins when 0 has ended
                await asyncio.sleep(0.01)
            await Actor.metamorph("next")
        elif n == 2:
            await asyncio.sleep(0.5)
    """
    env = {"AUTOSTATE_MAX_DELAY": "600", "AUTOSTATE_DEBOUNCE": "600"}
    run = platform.start_run(crawl(tmp_path, handler, pages=3, at_once=2), env=env)
    assert run.wait(LONG) == 0, run.output
    assert [item["page"] for item in run.dataset.items] == [0]
    assert sorted(run.queue.unhandled) == ["https://example.com/1", "https://example.com/2"]


def test_a_page_that_ends_while_the_actor_becomes_another_one_stays_in_the_queue(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """It might be marked, while the next Actor does not deliver what it has pushed."""
    asked = platform.traffic.fault("POST", "*/metamorph", hold=True)
    (tmp_path / "next").mkdir()
    platform.add_actor("next", script(tmp_path / "next", "    async with Actor:\n        pass"))
    has_pushed, goes_on = tmp_path / "has pushed", tmp_path / "goes on"
    handler = f"""
        from pathlib import Path
        await Actor.push_data({{"page": n}})
        if n == 1:
            while not Path({str(has_pushed)!r}).exists():
                await asyncio.sleep(0.01)
            await Actor.metamorph("next")
        elif n == 2:
            Path({str(has_pushed)!r}).touch()
            while not Path({str(goes_on)!r}).exists():
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.3, print, "page 2 has ended")
    """
    run = platform.start_run(crawl(tmp_path, handler, pages=3, at_once=2), env=QUICK)
    asked.wait_hit()
    goes_on.touch()
    run.container.wait_for_output("page 2 has ended")
    asked.release()
    assert run.wait(LONG) == 0, run.output
    assert [item["page"] for item in run.dataset.items] == [0]
    assert sorted(run.queue.unhandled) == ["https://example.com/1", "https://example.com/2"]


def test_an_actor_reboots_in_a_handler(platform: LocalPlatform, tmp_path: Path) -> None:
    """The page that does is worked again. If the platform refuses it, the crawl goes on."""
    platform.traffic.fault("POST", "*/reboot", status=400, times=1)
    handler = f"""
        await Actor.push_data({{"page": n}})
        await Actor.charge("page")
        if n == 1:
            try:
                await Actor.reboot()
            except Exception:
                pages["refused"] += 1
        elif n == 3:
            try:
                open({str(tmp_path / "rebooted")!r}, "x").close()
            except FileExistsError:
                return
            await Actor.reboot()
    """
    run = platform.start_run(crawl(tmp_path, handler, pages=5), env=QUICK, prices={"page": 0.001})
    assert run.wait(LONG) == 0, run.output
    assert run.reboots == 1
    assert run.state("pages") == {"refused": 1} | {str(n): 1 for n in range(5)}
    assert [item["page"] for item in run.dataset.items] == [*range(5)]
    assert len(run.charges) == 5
    assert not run.queue.unhandled


def test_a_handler_reads_and_drains(platform: LocalPlatform, tmp_path: Path) -> None:
    """It gets what other pages have pushed, and what it has pushed itself counts."""
    handler = """
        await Actor.push_data({"page": n})
        dataset = await Actor.open_dataset()
        pages["items"] += (await dataset.get_metadata()).item_count
        pages["found"] += len((await dataset.get_data()).items)
        box = autostate.outbox("box", print)
        box.put(n)
        pages["drained"] += await box.drain_async()
    """
    run = platform.start_run(crawl(tmp_path, handler, pages=2), env=QUICK)
    assert run.wait(LONG) == 0, run.output
    counts = {key: count for key, count in run.state("pages").items() if not key.isdigit()}
    assert counts == {"items": 3, "found": 1, "drained": 0}
    assert run.output.count("what a request in work has pushed") == 1


def test_a_child_run_is_started_once_by_all_attempts(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """The attempt that has started it fails, and is undone."""
    (tmp_path / "child").mkdir()
    platform.add_actor("child", script(tmp_path / "child", "    async with Actor:\n        pass"))
    handler = """
        await autostate.call("child", {"page": n}, name=f"child {n}", logger=None)
        if not context.request.retry_count:
            raise ValueError("this attempt fails")
    """
    run = platform.start_run(crawl(tmp_path, handler), env=QUICK)
    assert run.wait(LONG) == 0, run.output
    assert [each.actor_id for each in platform.runs.values()].count("child") == 1


def test_a_handler_runs_a_crawler(platform: LocalPlatform, tmp_path: Path) -> None:
    """Its pages are units of their own, of another queue."""
    handler = """
        queue = await Actor.open_request_queue(name="inner")
        inner = BasicCrawler(request_manager=queue, configure_logging=False)

        @inner.router.default_handler
        async def handle(context):
            pages["inner"] += 1
            await context.push_data({"url": context.request.url})

        await inner.run([f"{URL}inner"])
        if not context.request.retry_count:
            raise ValueError("this attempt fails")
    """
    run = platform.start_run(crawl(tmp_path, handler), env=QUICK)
    assert run.wait(LONG) == 0, run.output
    assert run.state("pages") == {"0": 1, "inner": 1}
    assert len(run.dataset.items) == 1


def test_a_handler_that_writes_in_threads_passes_a_full_outbox(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """No save leaves out what it has written, so no room is made before it ends."""
    handler = """
        box = autostate.outbox("box", print, capacity=1)
        await box.put_async(1)
        await asyncio.to_thread(pages.update, {"thread": 1})
        await box.put_async(2)
    """
    run = platform.start_run(crawl(tmp_path, handler), env=QUICK)
    assert run.wait(LONG) == 0, run.output
    assert run.state("pages") == {"0": 1, "thread": 1}


@pytest.mark.parametrize("is_told", [True, False])
def test_work_in_another_task_than_the_fetch_is_told(
    platform: LocalPlatform, tmp_path: Path, is_told: bool
) -> None:
    """Unless each task is started right after the fetch of its request."""
    body = f"""
    async def work(pages):
        queue = await Actor.open_request_queue(name="mine")
        await queue.add_requests([f"{{URL}}{{n}}" for n in range(2)])

        async def worked(request):
            pages[request.url.removeprefix(URL)] += 1
            await queue.mark_request_as_handled(request)

        fetched, tasks = [], []
        while request := await queue.fetch_next_request():
            if {is_told}:
                fetched.append(request)
            else:
                tasks.append(asyncio.create_task(worked(request)))
        await asyncio.gather(*tasks, *map(worked, fetched))
    """
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert_ends(run, {})
    assert run.output.count("requests of the queue 'mine' are fetched in one task") == is_told
