"""Tells at the end of `make model` what was explored: those lines are lost in other processes."""

from __future__ import annotations

import os

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write what the tests have noted."""
    if os.environ.get("CAMPAIGN_MODEL") != "all":
        return
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    noted = [dict(report.user_properties) for report in reports if report.when == "call"]
    for title in ("explored", "found"):
        rows = [str(each[title]) for each in noted if title in each]
        if rows:
            terminalreporter.section(title)
            terminalreporter.write_line("\n".join(sorted(rows)))
