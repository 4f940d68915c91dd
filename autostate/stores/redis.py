"""A store on a Redis or Valkey server: one hash for each state, whose fields are its records.

A write is one script, which the server runs as a whole: it compares what is expected, and writes
and deletes then. So it is atomic and conditional, in one trip. One hash is one key: it lies on one
node of a cluster, and is evicted or deleted as a whole, or not at all.

The client repeats nothing by itself. It would send a script whose answer was lost a second time,
and the first copy could take effect later.
"""

from __future__ import annotations

import builtins
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, Final

from redis.exceptions import NoPermissionError, NoScriptError

from autostate.errors import DamagedStoreError, FencedError, StoreError
from autostate.ownership.owner import Owner
from autostate.stores.redis_connection import RedisConnection
from autostate.stores.server_urls import parsed

logger: logging.Logger = logging.getLogger("autostate")

_PREFIX: Final = "autostate:"

_WRITE: Final = """
if redis.acl_check_cmd and not redis.acl_check_cmd('HDEL', KEYS[1], '-') then
  return redis.error_reply('NOPERM no right to HDEL')
end
local at = 2
for _ = 1, tonumber(ARGV[1]) do
  local found = redis.call('HGET', KEYS[1], ARGV[at])
  if ARGV[at + 1] == '-' then
    if found then return ARGV[at] end
  elseif found ~= ARGV[at + 2] then return ARGV[at] end
  at = at + 3
end
local puts, deletes = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
at = at + 2
for _ = 1, puts do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, deletes do
  redis.call('HDEL', KEYS[1], ARGV[at])
  at = at + 1
end
return false
"""
"""Arguments: how many are expected; for each its field, `=` or `-`, and value; how many puts and
deletes; field and value of each put; field of each delete. Gives a field that was not as expected.

A client that has the right to put, and none to delete, would be refused after the puts. (A HDEL of
no field in place of the check lets the server write with its memory full: a script that has called
a command that writes is not stopped.)
"""

_READ: Final = """
if redis.call('HSTRLEN', KEYS[1], ARGV[2]) > tonumber(ARGV[1]) then return 1 end
return redis.call('HGET', KEYS[1], ARGV[2])
"""
"""Arguments: the most bytes, and the field. Gives the value, or 1 if it is larger."""

_SCAN: Final = """
local found, room = {}, tonumber(ARGV[1])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  for at = 2, #ARGV do
    if string.sub(field, 1, #ARGV[at]) == ARGV[at] then
      room = room - redis.call('HSTRLEN', KEYS[1], field)
      if room < 0 then return field end
      found[#found + 1] = field
      found[#found + 1] = redis.call('HGET', KEYS[1], field)
      break
    end
  end
end
return found
"""
"""Arguments: the most bytes in all, and prefixes. Gives fields and values, or a field too many."""

_DIGESTS: Final = {
    script: sha1(script.encode(), usedforsecurity=False).hexdigest()
    for script in (_WRITE, _READ, _SCAN)
}


class RedisStore:
    """The records of one state on a Redis or Valkey server.

    Args:
        url: A normalized URL, see `server_urls`.

    Raises:
        StoreError: The server refuses this client, or would evict the state.
        StoreUnavailableError: The server cannot be reached.
    """

    atomic = True
    conditional = True
    metered = False
    max_record = 64 << 20
    owner_file: Path | None = None
    outlives_run = True

    def __init__(self, url: str) -> None:
        self.url: str = url
        parts = parsed(url)
        self.state_name: str = parts.state
        self._key = f"{_PREFIX}{parts.state}"
        self._server = RedisConnection(parts, self._key)
        self._closed = False
        self._examine()

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        return self._record(key, self._run(_READ, [self.max_record, key], timeout))

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records in one script; see `Store.write`."""
        wanted = (expect or {}).items()
        arguments: builtins.list[Any] = [len(wanted)]
        for key, value in wanted:
            arguments += [key, "-", b""] if value is None else [key, "=", value]
        arguments += [len(puts), len(deletes)]
        for key, value in puts.items():
            arguments += [key, value]
        arguments += deletes
        differs = self._run(_WRITE, arguments, timeout)
        if differs is not None:
            raise FencedError(f"{differs.decode()} in {self.url} is not what it was: not written")

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        [found] = self._open().call([["HKEYS", self._key]], timeout)
        keys = (key.decode() for key in self._accepted(found))
        return sorted(key for key in keys if key.startswith(prefix))

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Return all records whose key begins with one of the prefixes; see `Store.scan`."""
        found = self._run(_SCAN, [self.max_record, *prefixes], timeout)
        if isinstance(found, bytes):
            raise self._too_large(found.decode())
        return dict(zip((key.decode() for key in found[::2]), found[1::2], strict=True))

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records one after another in one trip; see `Store.read_many`."""
        if not keys:
            return
        load = ["SCRIPT", "LOAD", _READ]  # the server may not know it
        commands = [self._command(_READ, [self.max_record, key]) for key in keys]
        answers = self._open().stream([load, *commands], timeout)
        self._accepted(next(answers))
        for key, found in zip(keys, answers, strict=True):
            yield self._record(key, self._accepted(found))

    def owner_lives(self, owner: Owner) -> bool | None:
        """Give None: the server does not know it. An owner has a lease."""
        return None

    def close(self) -> None:
        """Close the connection. Closing twice is no error."""
        self._closed = True
        self._server.close()

    def _examine(self) -> None:
        """Refuse a server that would evict the state; say what its end would lose."""
        scripts = [["SCRIPT", "LOAD", script] for script in _DIGESTS]
        asked = [["INFO", "memory"], ["INFO", "persistence"], ["CONFIG", "GET", "appendfsync"]]
        answers = self._server.call([*scripts, *asked], None)
        for each in answers[: len(scripts)]:
            self._accepted(each)
        *facts, config = answers[len(scripts) :]
        place = self._server.place
        if any(isinstance(each, NoPermissionError) for each in facts):
            logger.warning(
                "%s does not tell this client whether it evicts states, and what its end would "
                "lose: give it the right to ask (+info)",
                place,
            )
            return
        lines = (line for each in facts for line in self._accepted(each).decode().splitlines())
        known = dict(line.split(":", 1) for line in lines if ":" in line)
        policy = known.get("maxmemory_policy", "")
        if policy.startswith("allkeys") and known.get("maxmemory") != "0":
            raise StoreError(
                f"{place} evicts any key when its memory is full, a state as well: set "
                f"maxmemory-policy ({policy}) to noeviction, or to one that begins with volatile-"
            )
        if known.get("aof_enabled") == "0":
            logger.warning(
                "%s has appendonly off: if it ends without notice, what was saved since its last "
                "snapshot is lost. Set appendonly yes and appendfsync always to lose nothing",
                place,
            )
        elif isinstance(config, builtins.list) and config[1:] == [b"everysec"]:
            logger.info(
                "%s has appendfsync everysec: if it ends without notice, what was saved in the "
                "last second is lost. Set appendfsync always to lose nothing",
                place,
            )

    def _open(self) -> RedisConnection:
        if self._closed:
            raise StoreError(f"the store {self.url} is closed: open it again with open_store()")
        return self._server

    def _run(self, script: str, arguments: Sequence[Any], timeout: float | None) -> Any:
        """Run a script on the server, and give what it gives."""
        command = self._command(script, arguments)
        [answer] = self._open().call([command], timeout)
        if isinstance(answer, NoScriptError):  # the server is new, or has begun anew: not run
            command[:2] = ["EVAL", script]
            [answer] = self._open().call([command], timeout)
        return self._accepted(answer)

    def _command(self, script: str, arguments: Sequence[Any]) -> builtins.list[Any]:
        return ["EVALSHA", _DIGESTS[script], 1, self._key, *arguments]

    def _accepted(self, answer: Any) -> Any:
        """Give an answer of the server.

        Raises:
            StoreError: It is a refusal.
        """
        if isinstance(answer, Exception):
            raise self._server.refused(answer)
        return answer

    def _record(self, key: str, found: Any) -> bytes | None:
        if isinstance(found, int):
            raise self._too_large(key)
        record: bytes | None = found
        return record

    def _too_large(self, key: str) -> DamagedStoreError:
        return DamagedStoreError(
            f"the record {key} of {self.url} has more than {self.max_record:,} bytes, as none has: "
            "somebody else has changed the state. Put it back from a copy, or delete it"
        )
