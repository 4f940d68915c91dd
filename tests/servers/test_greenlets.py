"""Programs under gevent, whose threads are greenlets, share state on servers."""

from __future__ import annotations

import pytest

import autostate
from autostate import SharedCounter
from tests import programs


@pytest.mark.usefixtures("isolated")
def test_a_program_is_started(url: str) -> None:
    """Its `subprocess` forks in Python, in the midst of which nobody may wait for a server."""
    pytest.importorskip("gevent")  # has no wheels for each new Python
    program = f"""
from gevent import monkey
monkey.patch_all()
import signal, subprocess
import autostate
from autostate import SharedCounter
signal.alarm(20)
autostate.configure(shared={url!r})
hits = SharedCounter("hits")
hits["a"] += 1
subprocess.run(["true"], check=True)
hits["a"] += 1
"""
    assert programs.run(program).returncode == 0
    autostate.configure(shared=url)
    assert SharedCounter("hits") == {"a": 2}
