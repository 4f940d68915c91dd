"""What the tests of adopt share: a place with a record, and lives of programs in it."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import autostate
from autostate.testing import LocalPlatform
from autostate.testing.key_value_store import Record
from tests.actor_runs import PRELUDE
from tests.peers.forked import ProgramServer

KEY = "APIFY_GLOBAL_STATE"
FOLDER = Path("storage/key_value_stores")
STATE = "sqlite:///state.db"


def put(content: Any, key: str = KEY, store: str = "default") -> Path:
    """Keep a record in the local store as the Python SDK does; gives its file."""
    return put_text(json.dumps(content), key, store)


def put_text(text: str, key: str = KEY, store: str = "default") -> Path:
    """The same, of any text."""
    folder = FOLDER / store
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"key": key, "content_type": "application/json; charset=utf-8", "size": len(text)}
    (folder / f"{key}.__metadata__.json").write_text(json.dumps(metadata))
    (folder / key).write_text(text)
    return folder / key


def life(key: str = KEY, defaults: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """What a whole life of a process that adopts a record has in its state."""
    with autostate.open(STATE, flush_timeout=1):
        return dict(autostate.adopt(key, defaults, **options))


class Place:
    """Where programs run one after another, with the same storage: on a platform or off it."""

    def __init__(self, folder: Path, platform: LocalPlatform | None, server: ProgramServer) -> None:
        self.platform = platform
        self.server = server
        self.env: dict[str, str] = {**os.environ, "APIFY_PURGE_ON_START": "0"}
        self.folder = folder
        self._run = None if platform is None else platform.start_run([sys.executable, "-c", ""])
        if self._run is not None:
            self._run.wait()
            self.env = dict(self._run.env)

    def run(self, code: str, *, code_of_exit: int = 0, **env: str) -> str:
        """Run a program to its end; gives what it printed."""
        command = [sys.executable, "-c", textwrap.dedent(code)]
        found, output, error = self.server.run(command, {**self.env, **env}, self.folder)
        assert found == code_of_exit, output + error
        return output

    def actor(self, body: str, **env: Any) -> str:
        """Run an Actor whose `main` has this body in `async with Actor`."""
        inner = textwrap.indent(textwrap.dedent(body), "        ")
        main = (
            f"{PRELUDE}\nasync def main():\n    async with Actor:\n{inner}\nasyncio.run(main())\n"
        )
        return self.run(main, **env)

    @property
    def records(self) -> dict[str, Record]:
        """The run's default store on the platform."""
        assert self._run is not None
        return self._run.store.records

    def record(self, key: str = KEY) -> bytes:
        """The record as it lies there."""
        if self.platform is None:
            return (self.folder / FOLDER / "default" / key).read_bytes()
        return self.records[key].value

    def put(self, text: str, key: str = KEY) -> None:
        """Put a record of JSON there."""
        if self.platform is None:
            put_text(text, key)
        else:
            self.records[key] = Record(text.encode(), "application/json; charset=utf-8")


NEW = f"""
import os, signal
import autostate
state = autostate.adopt("{KEY}", {{"page": 1, "new": 0}})
print({{key: value for key, value in state.items() if key != "é"}}, flush=True)
"""
