"""Each situation of `docs/processes.md` is a test here, in real processes."""

from __future__ import annotations

import re
from typing import Final

from tests.processes.programs import ROOT

FOLDERS: Final = ("processes", "actor")

SITUATIONS: dict[str, list[str]] = {
    "Ctrl-C, SIGTERM or `kill -9`": [
        "test_a_run_that_was_ended_can_be_started_again_at_once",
        "test_a_killed_run_is_started_again_while_its_children_live_on",
        "test_an_owner_that_has_begun_to_end_is_waited_for",
    ],
    "the same program twice": [
        "test_the_same_program_twice",
        "test_the_same_program_twice_with_the_sdks_folder",
    ],
    "… with `wait_for_owner=60`": ["test_a_program_may_wait_for_the_owner_to_end"],
    "… with `takeover=True`": [
        "test_a_program_may_take_over",
        "test_a_fenced_process_may_end_at_once",
        "test_a_child_does_not_take_over_because_its_parent_may",
    ],
    "two programs in one folder": [
        "test_two_programs_in_one_folder",
        "test_two_programs_of_one_name_in_two_folders",
        "test_a_renamed_program_is_told_where_its_state_is",
    ],
    "a shell, `python -c` or a notebook": [
        "test_a_look_from_a_shell_beside_a_job",
        "test_an_interpreter_in_a_terminal_beside_a_job",
        "test_a_notebook_beside_a_job",
    ],
    "`multiprocessing`, `concurrent.futures`": [
        "test_children_of_multiprocessing_read_and_are_refused_to_write",
        "test_what_goes_past_the_methods_is_told_at_the_end",
        "test_what_goes_past_the_methods_in_a_child_of_multiprocessing_is_told",
    ],
    "… children of a fork server": [
        "test_what_the_fork_server_has_imported_belongs_to_the_program",
    ],
    "… children of a process that does not own": [
        "test_a_child_owns_what_its_parent_never_created",
        "test_a_child_that_is_killed_has_saved_by_itself",
    ],
    "… children whose parent was killed": [
        "test_an_orphaned_child_becomes_the_owner",
        "test_a_fork_in_a_block_leaves_the_block_to_both",
    ],
    "a daemon": [
        "test_a_daemon_goes_on_as_the_owner",
        "test_a_daemon_in_another_folder_goes_on_in_the_sdks_folder",
    ],
    "`os.fork`, and the parent goes on": [
        "test_a_child_that_is_refused_inside_a_block_changes_nothing",
        "test_what_the_parent_has_not_saved_at_the_fork_is_no_loss_of_the_child",
        "test_threads_of_the_owner_save_on_while_children_are_refused",
        "test_what_another_thread_has_begun_is_not_in_a_forked_child",
        "test_what_another_thread_is_about_to_save_is_no_change_of_the_child",
        "test_threads_that_fork_at_the_same_time",
        "test_a_child_does_not_keep_the_lock_that_another_thread_is_about_to_take",
        "test_a_fork_waits_for_an_import_that_another_thread_has_begun",
        "test_a_fork_waits_for_a_change_that_another_thread_has_begun",
    ],
    "a fork by code in C": ["test_it_can_write_nothing"],
    "`os.execv`": ["test_exec_gives_the_state_to_the_next_program"],
    "uvicorn, gunicorn with one worker": ["test_a_hit_is_counted_or_refused"],
    "… a new worker that has imported": [
        "test_a_worker_whose_state_is_old_is_told_or_ends",
        "test_a_worker_that_came_before_the_old_one_ended",
    ],
    "uvicorn, gunicorn with several": [
        "test_a_hit_is_counted_or_refused",
        "test_forked_workers_of_a_server_that_owns_nothing",
    ],
    "… with `--preload`": ["test_a_hit_is_counted_or_refused"],
    "one store opened twice": [
        "test_one_store_opened_twice_is_one",
        "test_a_named_store_opened_twice_is_one",
        "test_a_folder_of_the_sdk_under_two_names_is_one",
        "test_of_two_that_are_closed_at_once_one_finishes",
    ],
    "the store deleted while it is owned": [
        "test_a_store_that_was_deleted_is_owned_again",
        "test_a_folder_of_the_sdk_that_was_deleted_is_saved_again",
        "test_what_was_begun_anew_is_not_replaced_by_a_former_owner",
    ],
    "two containers of one run": [
        "test_the_next_write_of_a_container_that_was_replaced_waits_for_its_kill",
    ],
    "two runs of an Actor on one named store": [
        "test_two_runs_on_one_named_store",
        "test_a_child_in_another_run_is_refused_too",
    ],
}
"""How each row of the table in `docs/processes.md` begins, and its tests in `FOLDERS`."""


def test_the_documented_situations_are_those_that_are_tested() -> None:
    """Each row of the table has its tests, in this order, and they are there."""
    text = (ROOT / "docs" / "processes.md").read_text()
    rows = [line.removeprefix("| ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(SITUATIONS)
    files = (path for folder in FOLDERS for path in (ROOT / "tests" / folder).glob("test_*.py"))
    there = {name for path in files for name in re.findall(r"def (test_\w+)", path.read_text())}
    for row, (begins, tests) in zip(rows, SITUATIONS.items(), strict=True):
        assert row.startswith(begins)
        assert there.issuperset(tests)
