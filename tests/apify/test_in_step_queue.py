"""Request queues in step with the state: when marks are made, and what is undone.

Crawls that are killed at random moments are in `tests/in_step`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from autostate.testing import LocalPlatform
from tests.apify.crawling import CRAWLER, LOOP, QUICK, assert_ends, program, result, unhandled
from tests.peers.forked import ProgramServer

pytestmark = pytest.mark.usefixtures("forked_actors")

PAGES = 40


@pytest.mark.parametrize("body", [CRAWLER, LOOP], ids=["crawler", "loop"])
def test_off_the_platform_each_page_counts_once(
    body: str, tmp_path: Path, rng: random.Random, program_server: ProgramServer
) -> None:
    """A local queue marks only what its process has fetched."""
    command = program(tmp_path, body, pages=PAGES, at_once=5)
    env = {**os.environ, **QUICK, "APIFY_PURGE_ON_START": "0", "PYTHONUNBUFFERED": "1"}
    env["AUTOSTATE_URL"] = "sqlite:///state.db"
    output = ""
    for _ in range(2):
        process = program_server.popen(command, cwd=tmp_path, env=env)
        with process.stdout:
            for _ in range(rng.randrange(1, 25)):
                output += process.stdout.readline()
            process.kill()
            process.wait()
    status, output, errors = program_server.run(command, env, tmp_path)
    assert status == 0, errors
    failed = {"failed": 2} if body is CRAWLER else {}
    assert result(output) == {"sum": PAGES - failed.get("failed", 0), **failed}


def test_a_request_is_marked_after_the_save(platform: LocalPlatform, tmp_path: Path) -> None:
    """While the state cannot be saved no request is marked, and no other one is handed out."""
    many = 400
    run = platform.start_run(program(tmp_path, LOOP, pages=many), env=QUICK)
    run.container.wait_for_output("PAGE")
    fault = platform.traffic.fault("PUT", "*autostate*", status=400)
    fault.wait_hit(2)
    marks = len(platform.traffic.calls_to("PUT", "*/requests/*"))
    pages = run.output.count("PAGE")
    assert pages < many
    fault.wait_hit(3)
    assert len(platform.traffic.calls_to("PUT", "*/requests/*")) == marks
    assert run.output.count("PAGE") <= pages + 1  # one under way
    platform.traffic.heal()
    assert_ends(run, {"sum": many})


def test_a_mark_that_fails_is_made_again(platform: LocalPlatform, tmp_path: Path) -> None:
    """The SDK logs the error, and says nothing."""
    run = platform.start_run(program(tmp_path, LOOP, pages=20), env=QUICK)
    platform.traffic.fault("PUT", "*/requests/*", times=3, status=400)
    assert_ends(run, {"sum": 20})


def test_what_was_counted_is_marked_by_the_next_process(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """A process is killed after the save, and before it could make the marks."""
    body = LOOP.replace("if int(n) % 10 == 0", "if False")
    run = platform.start_run(program(tmp_path, body, pages=20, at_once=20), env=QUICK)
    held = platform.traffic.fault("PUT", "*/requests/*", cut=True, hold=True)
    held.wait_hit()
    run.kill()
    platform.traffic.heal()
    assert len(unhandled(run)) == 20
    run.start_next_container()
    assert_ends(run, {"sum": 20})
    worked_again = run.container.output.count("PAGE")
    assert worked_again < 20, run.output


def test_as_many_marks_are_made_at_a_time_as_requests_were_in_work(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """The crawl would make as many; with fewer it would wait for its marks in the end."""
    body = LOOP.replace("if int(n) % 10 == 0", "if False").replace("0.002", "0.2")
    run = platform.start_run(program(tmp_path, body, pages=40, at_once=40), env=QUICK)
    held = platform.traffic.fault("PUT", "*/requests/*", hold=True)
    held.wait_hit(40)
    platform.traffic.heal()
    assert run.wait() == 0
    assert result(run.output) == {"sum": 40}


def test_who_asks_whether_all_is_done_waits_for_the_last_marks(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """A crawler asks twice a second, and a loop as often as it can: each time costs a request."""
    body = """
    async def work(pages):
        from autostate.apify import in_step_queue

        in_step_queue.FINISHING = 30.0
        queue = await Actor.open_request_queue()
        await queue.add_requests([f"{URL}{n}" for n in range(3)])
        for _ in range(3):
            await queue.mark_request_as_handled(await queue.fetch_next_request())
        pages["finished"] += all(await asyncio.gather(*(queue.is_finished() for _ in range(3))))
    """
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert run.wait() == 0, run.output
    assert result(run.output) == {"finished": 1}
    assert unhandled(run) == []


def test_a_loop_waits_while_a_kill_is_expected(platform: LocalPlatform, tmp_path: Path) -> None:
    """The end of the loop would be the end of the run: exit 0 means that it has succeeded."""
    body = LOOP.replace("while not await queue.is_finished():", "while True:").replace(
        "                await asyncio.sleep(0.02)\n                continue\n",
        "                break\n",
    )
    run = platform.start_run(program(tmp_path, body, pages=400), env=QUICK)
    run.container.wait_for_output("PAGE")
    first = run.container
    second = run.migrate(notice=1.0)
    assert second is not first, run.output
    assert "RESULT" not in first.output
    assert_ends(run, {"sum": 400})


def test_all_links_of_a_page_are_added_before_it_is_marked(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """Crawlee adds the first thousand at once, and would add the others in the background."""
    body = """
    async def work(pages):
        queue = await Actor.open_request_queue()
        await queue.add_request(URL)
        request = await queue.fetch_next_request()
        await queue.add_requests([f"{URL}{n}" for n in range(1_500)])
        pages["there"] = (await queue.get_metadata()).total_request_count
        await queue.mark_request_as_handled(request)
    """
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert run.wait() == 0, run.output
    assert result(run.output) == {"there": 1_501}


def test_a_loop_that_stops_half_way_leaves_nothing_of_the_request(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """The next process works the request again; saving inside is possible, and saves the rest."""
    body = """
    async def work(pages):
        queue = await Actor.open_request_queue()
        await queue.add_request(URL)
        pages["lives"] += 1
        request = await queue.fetch_next_request()
        pages["worked"] += 1
        await Actor.push_data({"url": request.url})
        await autostate.durable()
        if pages["lives"] > 1:
            await queue.mark_request_as_handled(request)
    """
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert run.wait() == 0, run.output
    assert "did not end before" not in run.output
    assert "a request was fetched, and neither marked as handled nor given back" in run.output
    assert "have not arrived" not in run.output
    assert (len(unhandled(run)), run.dataset.items) == (1, [])
    run.start_next_container()
    assert_ends(run, {"lives": 2, "worked": 1})


def test_a_worker_that_dies_leaves_nothing_and_holds_up_nothing(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """What others write is not taken for its own, though nobody ends its unit."""
    body = """
    async def work(pages):
        queue = await Actor.open_request_queue()
        await queue.add_requests([f"{URL}{n}" for n in range(4)])

        async def worker():
            while request := await queue.fetch_next_request():
                pages["worked"] += 1
                await Actor.push_data({"url": request.url})
                if request.url == f"{URL}0":
                    raise ValueError("this worker dies")
                await asyncio.sleep(0)
                await queue.mark_request_as_handled(request)

        await asyncio.gather(worker(), worker(), return_exceptions=True)
        pages["after"] += 1
        await autostate.durable()
    """
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert run.wait() == 0, run.output
    assert len(unhandled(run)) == 1
    assert len(run.dataset.items) == 3
    run.start_next_container()
    assert run.wait() == 0, run.output
    assert result(run.output)["after"] == 2
    assert len(run.dataset.items) == 3


def test_several_requests_in_one_task(platform: LocalPlatform, tmp_path: Path) -> None:
    """What was written before a mark is saved no later than the mark, whose unit it was."""
    body = """
    async def work(pages):
        queue = await Actor.open_request_queue()
        await queue.add_requests([f"{URL}{n}" for n in range(4)])
        requests = [await queue.fetch_next_request() for _ in range(4)]
        for request in requests[:3]:
            pages["sum"] += 1
            await queue.mark_request_as_handled(request)
        pages["sum"] += 1
        await queue.reclaim_request(requests[3])
    """
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert_ends(run, {"sum": 3}, left=1)


def test_a_task_that_holds_up_saves_gets_its_next_request(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """No cut can leave out what a thread has written: the saves wait for the mark of this task."""
    body = """
    async def work(pages):
        queue = await Actor.open_request_queue()
        await queue.add_requests([URL, f"{URL}1"])
        first = await queue.fetch_next_request()
        await asyncio.to_thread(pages.update, ["sum"])
        await asyncio.sleep(1)  # longer than max_delay
        second = await queue.fetch_next_request()
        await queue.mark_request_as_handled(first)
        await queue.mark_request_as_handled(second)
    """
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert_ends(run, {"sum": 1})


def test_a_time_limit_around_a_fetch(platform: LocalPlatform, tmp_path: Path) -> None:
    """On Python 3.11 `asyncio.wait_for` would fetch in a task of its own, in another context."""
    body = LOOP.replace(
        "await queue.fetch_next_request()", "await asyncio.wait_for(queue.fetch_next_request(), 9)"
    ).replace('pages["sum"] += 1', 'pages["sum"] += 1; await autostate.durable()')
    run = platform.start_run(program(tmp_path, body, pages=30, at_once=3), env=QUICK)
    run.container.wait_for_output("PAGE", count=3)
    run.kill()
    run.start_next_container()
    assert_ends(run, {"sum": 30})
    assert "a task of its own" not in run.output


def test_a_fetch_in_a_task_of_its_own_is_reported(platform: LocalPlatform, tmp_path: Path) -> None:
    """What is written for its request belongs to no unit."""
    body = LOOP.replace(
        "await queue.fetch_next_request()", "await asyncio.create_task(queue.fetch_next_request())"
    )
    run = platform.start_run(program(tmp_path, body, pages=3), env=QUICK)
    assert run.wait() == 0, run.output
    assert run.output.count("fetched in a task of its own") == 1


def test_a_late_reclaim_takes_no_mark_back(platform: LocalPlatform, tmp_path: Path) -> None:
    """The SDK hands a request out again before the platform has it back."""
    late = platform.traffic.fault(
        "PUT", "*/requests/*", when=lambda call: not call.json().get("handledAt"), hold=True
    )
    run = platform.start_run(program(tmp_path, LOOP, pages=6, at_once=2), env=QUICK)
    late.wait_hit()
    platform.traffic.wait_for_calls("PUT", "*/requests/*", count=5)  # the marks of the others
    late.release()
    assert_ends(run, {"sum": 6})


def test_a_dropped_queue_takes_its_marks_along(platform: LocalPlatform, tmp_path: Path) -> None:
    """They would never be made."""
    body = """
    async def work(pages):
        queue = await Actor.open_request_queue(name="to-be-dropped")
        await queue.add_request(URL)
        await queue.mark_request_as_handled(await queue.fetch_next_request())
        await queue.drop()
        queue = await Actor.open_request_queue(name="to-be-dropped")
        pages["finished"] += await queue.is_finished()
    """
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert run.wait() == 0, run.output
    assert result(run.output) == {"finished": 1}
    assert "could not be marked" not in run.output


def test_a_second_crawl_in_one_process(platform: LocalPlatform, tmp_path: Path) -> None:
    """Crawlee drops the queue of the first one, and makes another."""
    body = CRAWLER.replace(
        "    await crawler.run(",
        "    for _ in range(2):\n        await crawler.run(",
    )
    run = platform.start_run(program(tmp_path, body, pages=20, at_once=5), env=QUICK)
    assert run.wait() == 0, run.output
    counts = result(run.output)
    assert counts.pop("sum") == 36
    assert counts.pop("failed") == 4
    assert set(counts.values()) == {2}
