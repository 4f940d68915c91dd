"""A real SeaweedFS server, which speaks S3."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.servers.base import free_ports, wait_for
from tests.servers.proxy import Proxy

BUCKET = "states"


class Seaweed:
    """A server with a bucket.

    Args:
        folder: Where it keeps its data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        while max(ports := free_ports(4)) > 55_000:  # each has another one at 10,000 more
            pass
        self._ports = dict(zip(("master", "volume", "filer", "s3"), ports, strict=True))
        self.endpoint: str = f"http://127.0.0.1:{self._ports['s3']}"
        self._process: subprocess.Popen[bytes] | None = None
        self._earlier: dict[str, bytes] = {}

    def url(self, state: str, proxy: Proxy | None = None) -> str:
        """The URL of a state in the bucket."""
        endpoint = self.endpoint if proxy is None else f"http://127.0.0.1:{proxy.port}"
        return (
            f"s3://{BUCKET}/tests?state={state}&endpoint={endpoint}&region=us-east-1"
            "&access_key_id=someone&secret_access_key=secret"
        )

    def proxy(self) -> Proxy:
        """A proxy before it."""
        return Proxy(self._ports["s3"])

    def start(self) -> None:
        """Start it; see `Server`."""
        program = shutil.which("weed", path=str(Path(sys.executable).parent))
        assert program is not None
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        options = ["-ip=127.0.0.1", f"-bucket={BUCKET}", "-admin.ui=false", "-webdav=false"]
        process = self._process = subprocess.Popen(
            [program, "mini", f"-dir={self._folder}", *options, *ports],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._answers, lambda: process.poll() is None)

    def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def remove(self) -> None:
        """End it."""
        self.kill()

    def wipe(self) -> None:
        """Delete all objects."""
        obstore, bucket = import_module("obstore"), self._bucket()
        for page in obstore.list(bucket):
            obstore.delete(bucket, [each["path"] for each in page])

    def remember(self, state: str) -> None:
        """Keep the objects."""
        obstore, bucket = import_module("obstore"), self._bucket()
        found = (each["path"] for page in obstore.list(bucket, f"tests/{state}") for each in page)
        self._earlier = {path: bytes(obstore.get(bucket, path).bytes()) for path in found}

    def go_back(self, state: str) -> None:
        """Put them back."""
        obstore, bucket = import_module("obstore"), self._bucket()
        for page in obstore.list(bucket, f"tests/{state}"):
            obstore.delete(bucket, [each["path"] for each in page])
        for path, data in self._earlier.items():
            obstore.put(bucket, path, data)

    def put(self, path: str, data: bytes) -> None:
        """Make an object."""
        import_module("obstore").put(self._bucket(), path, data, use_multipart=False)

    def make_bucket(self, name: str) -> None:
        """Make another bucket."""
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        urllib.request.urlopen(request).close()

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket, with all objects."""
        obstore, bucket = import_module("obstore"), self._bucket(name)
        for page in obstore.list(bucket):
            obstore.delete(bucket, [each["path"] for each in page])
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="DELETE")
        urllib.request.urlopen(request).close()

    def _bucket(self, name: str = BUCKET) -> Any:
        return import_module("obstore.store").S3Store(
            name,
            config={"endpoint": self.endpoint, "region": "us-east-1", "skip_signature": "true"},
            client_options={"allow_http": True},
        )

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.endpoint}/{BUCKET}"):
            return True
        return False
