"""A headless Chromium, as far as a test of pages needs it, by the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from websockets.sync.client import ClientConnection, connect

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE: Final = 60.0


def found() -> str | None:
    """Give the path of a Chromium: that of `CHROMIUM`, or one on the PATH."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab of the browser, and what went wrong in it.

    Attributes:
        problems: Errors of the console, exceptions, and requests that failed, since the last visit.
        requested: The URLs that were asked for since the last visit.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self._session: str | None = None
        self._loaded = False
        self.problems: list[str] = []
        self.requested: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and give its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._connection.send(json.dumps(message))
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def visit(self, url: str, *, width: int) -> None:
        """Load a page, and wait until it is there."""
        self.problems.clear()
        self.requested.clear()
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._next()
        self.value("new Promise(done => requestAnimationFrame(() => done(1)))")

    def value(self, expression: str) -> Any:
        """Give the value of an expression in the page, of a promise the one that it resolves to."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def picture(self, path: Path) -> None:
        """Save a picture of the whole page."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def _next(self) -> dict[str, Any]:
        """Read a message, and note what it tells."""
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=PATIENCE))
        about = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Log.entryAdded" if about["entry"]["level"] == "error":
                self.problems.append(about["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.problems.append(str(about["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if about["type"] in {"error", "assert"}:
                self.problems.append(str(about["args"]))
            case "Network.loadingFailed" if not about.get("canceled"):
                self.problems.append(about["errorText"])
            case "Network.requestWillBeSent":
                self.requested.append(about["request"]["url"])
        return message


@contextmanager
def opened(program: str, folder: Path) -> Iterator[Page]:
    """Start a Chromium, and end it.

    Args:
        program: Its path.
        folder: Where it keeps its profile.
    """
    command = [
        *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = ""
        while not (told := re.search(r"DevTools listening on (ws://\S+)", said)):
            line = process.stderr.readline()
            assert line, f"{program} has ended: {said}"
            said += line
        with connect(told[1], max_size=None, compression=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()
