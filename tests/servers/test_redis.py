"""What only a server of Redis or Valkey does."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

import autostate
from autostate.errors import DamagedStoreError, FencedError, StoreError, StoreUnavailableError
from autostate.stores import open_store, redis_connection
from tests.servers import need
from tests.servers.base import patient, wait_until
from tests.servers.kinds import PACKAGES
from tests.servers.proxy import Proxy, check_interrupt, check_timeouts
from tests.servers.valkey import Sentinel, Valkey

need(*PACKAGES["valkey"])


class Start(Protocol):
    """Starts a server."""

    def __call__(self, **settings: str) -> Valkey: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers, which end with the test."""
    with ExitStack() as ends:

        def started(**settings: str) -> Valkey:
            made = Valkey(tmp_path / f"valkey{len(started_ones)}", **settings)
            started_ones.append(made)
            ends.callback(made.kill)
            made.start()
            return made

        started_ones: list[Valkey] = []
        yield started


def saved(url: str) -> bytes | None:
    """Write a record, and read it by another store."""
    with closing(open_store(url)) as store:
        store.write({"record": b"1"})
    with closing(open_store(url)) as store:
        return store.read("record")


def test_a_store_reads_in_streams_for_ever(start: Start) -> None:
    """Each stream has a connection of its own; a pool makes a hundred by default."""
    with closing(open_store(start().url("s"))) as store:
        store.write({"record": b"1"})
        assert [[*store.read_many(["record"])] for _ in range(120)] == [[b"1"]] * 120


@pytest.mark.parametrize(
    "written",
    [
        "redis://user:secret@127.0.0.1:1",
        "rediss://:secret@127.0.0.1:1",
        "redis://127.0.0.1:1?password=secret",
        "redis+sentinel://user:secret@127.0.0.1:1/service",
        "redis+cluster://user:secret@127.0.0.1:1",
    ],
)
def test_no_message_tells_a_password(written: str) -> None:
    """The place and the state are named."""
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1.*shop") as caught:
        open_store(f"{written}{'&' if '?' in written else '?'}state=shop")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(autostate.open(f"{written}"))


def test_what_its_end_would_lose_is_said(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing, if it syncs each write; a server that evicts states is refused."""
    caplog.set_level(logging.INFO, "autostate")
    server = start()
    with closing(open_store(server.url("a"))):
        assert not caplog.messages
    server.command("CONFIG SET appendfsync everysec")
    with closing(open_store(server.url("a"))):
        assert "what was saved in the last second is lost" in caplog.text
    server.command("CONFIG SET appendonly no")
    with closing(open_store(server.url("a"))):
        assert "what was saved since its last snapshot is lost" in caplog.text
    server.command("CONFIG SET maxmemory-policy allkeys-lru")
    with closing(open_store(server.url("a"))):
        pass  # without a limit nothing is evicted
    server.command("CONFIG SET maxmemory 100mb")
    with pytest.raises(StoreError, match="evicts any key when its memory is full"):
        open_store(server.url("a"))


def test_what_a_server_refuses_is_an_error_that_says_what_to_do(start: Start) -> None:
    """Full memory, a replica, another type of key, a server without scripts."""
    server = start()
    with closing(open_store(server.url("a"))) as store:
        store.write({"record": b"1"})
        server.command("CONFIG SET maxmemory 1")
        with pytest.raises(StoreUnavailableError, match="its memory is full") as full:
            store.write({"record": b"2"})
        assert full.value.lasting
        server.command("CONFIG SET maxmemory 0")
        server.command("REPLICAOF 127.0.0.1 1")
        with pytest.raises(StoreUnavailableError, match="read only replica"):
            store.write({"record": b"3"})
        server.command("REPLICAOF NO ONE")
        server.command("SCRIPT FLUSH")
        assert [*store.read_many(["record", "none"])] == [b"1", None]
        server.command("SCRIPT FLUSH")
        assert store.read("record") == b"1"
        server.command("DEL autostate:a")
        server.command("SET autostate:a text")
        with pytest.raises(StoreError, match="holds something else under this key"):
            store.write({"record": b"4"})


def test_a_client_needs_few_rights(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Those of its keys; others are refused, and no part of a write is done without all of them."""
    server = start()
    server.command("ACL SETUSER user on >p%ss ~autostate:* +@hash +@scripting")
    url = server.url("a").replace("//", "//user:p%25ss@")
    assert saved(url) == b"1"
    assert "does not tell this client whether it evicts states" in caplog.text
    server.command("ACL SETUSER user +info +config|get")
    caplog.clear()
    assert saved(url) == b"1"
    assert not caplog.messages
    server.command("ACL SETUSER user -hdel")
    with closing(open_store(url)) as store:
        with pytest.raises(StoreError, match="refuses this client"):
            store.write({"record": b"2"}, ["other"])
        assert store.read("record") == b"1"
    with pytest.raises(StoreError, match="refuses this client") as caught:
        open_store(url.replace("p%25ss", "wrong"))
    assert "wrong" not in str(caught.value)


def test_a_large_record_of_somebody_else_is_not_read(start: Start) -> None:
    """Nor are many that are large together."""
    server = start()
    with closing(open_store(server.url("a"))) as store:
        store.max_record = 100
        for name in ("h-1", "h-2"):
            server.command(f"HSET autostate:a {name} {'x' * 90}")
        assert store.read("h-1") == b"x" * 90
        with pytest.raises(DamagedStoreError, match="bytes"):
            store.scan(["h-"])
        server.command(f"HSET autostate:a h-1 {'x' * 101}")
        with pytest.raises(DamagedStoreError, match="bytes"):
            store.read("h-1")


def test_an_evicted_state_is_saved_again(start: Start) -> None:
    """The server was told to evict after it had been examined; the program says so."""
    server = start(maxmemory_samples="10")
    with autostate.open(server.url("a"), lease=1, flush_timeout=5):
        pages = autostate.PersistedDict[str, int]("pages", first=1)
        autostate.flush()
        server.command("CONFIG SET maxmemory-policy allkeys-random maxmemory 8mb")
        number = 0
        while b":1" in server.command("EXISTS autostate:a"):
            server.command(f"SET other-{number} {'x' * 50_000}")
            number += 1
        server.command("CONFIG SET maxmemory 0")
        pages["second"] = 2
        autostate.flush()
    server.command("CONFIG SET maxmemory-policy noeviction")
    with autostate.open(server.url("a"), lease=1):
        assert autostate.PersistedDict[str, int]("pages") == {"first": 1, "second": 2}


def test_an_answer_that_comes_too_late_answers_no_later_call(start: Start) -> None:
    """After a timeout, and after Ctrl-C, the connection is not used again."""
    server = start()
    with Proxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}?state=a"
        with closing(open_store(url)) as store:
            check_interrupt(store, proxy)
            check_timeouts(store, proxy)


def test_databases_are_apart(start: Start) -> None:
    """The path of the URL is the number of the database."""
    server = start()
    for number in (0, 3):
        with closing(open_store(server.url("a").replace("/0", f"/{number}"))) as store:
            assert store.list("") == []
            store.write({"record": b"%d" % number})


def test_tls(start: Start, tmp_path: Path) -> None:
    """With a certificate that is checked."""
    server = start()
    context, authority = certificate(tmp_path)
    with Proxy(server.port, tls=context) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}?state=a"
        assert saved(f"{url}&ssl_ca_certs={authority}") == b"1"
        assert saved(f"{url.replace('rediss', 'valkeys')}&ssl_ca_certs={authority}") == b"1"
        with pytest.raises(StoreUnavailableError, match="certificate"):
            open_store(url)
        with pytest.raises(StoreUnavailableError, match="writes valkeys://"):
            open_store(url.replace("rediss", "valkey"))


@pytest.mark.parametrize("scheme", ["rediss", "valkeys", "rediss+cluster"])
def test_a_server_without_tls_is_told(
    start: Start, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """It answers no handshake, ever: a timeout would be told as that of a server that is down."""
    monkeypatch.setattr(redis_connection, "_HANDSHAKE", 0.1)
    url = start().url("a").replace("redis", scheme)
    with pytest.raises(StoreError, match="answers without TLS, and not with it: write") as caught:
        open_store(url)
    assert not isinstance(caught.value, StoreUnavailableError)


def test_sentinels_that_do_not_answer_are_named() -> None:
    """The client shows its own objects."""
    told = r"the service 'shop' \(127\.0\.0\.1:1, 127\.0\.0\.1:2 did not answer\)\. Check"
    with pytest.raises(StoreUnavailableError, match=told):
        open_store("redis+sentinel://127.0.0.1:1,127.0.0.1:2/shop/0?state=a")


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server needs for TLS, and the file with which its clients check it."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    return context, pem


@pytest.mark.servers
def test_a_sentinel_names_the_master(start: Start, tmp_path: Path) -> None:
    """Another one is named when it dies; a write that was replicated is there."""
    master = start()
    replica = start(replicaof=f"127.0.0.1 {master.port}", replica_priority="1")
    wait_until(lambda: b"master_link_status:up" in replica.command("INFO replication"))
    sentinel = Sentinel(tmp_path / "sentinel", master.port)
    with ExitStack() as ends:
        ends.callback(sentinel.kill)
        sentinel.start()
        known = b"num-slaves\r\n$1\r\n1"
        wait_until(lambda: known in sentinel.command("SENTINEL MASTER service"))
        store = ends.enter_context(closing(open_store(sentinel.url("a"))))
        store.write({"record": b"1"})
        wait_until(lambda: b"record" in replica.command("HKEYS autostate:a"))
        master.kill()
        patient(lambda: store.write({"record": b"2"}, timeout=1))
        assert b"2" in replica.command("HGET autostate:a record")


def is_whole(node: Valkey) -> bool:
    """Whether the node knows its cluster of three."""
    told = node.command("CLUSTER INFO")
    return b"cluster_state:ok" in told and b"cluster_known_nodes:3" in told


@pytest.mark.servers
def test_a_cluster(start: Start) -> None:
    """Each state is on one node, which any node names; it may be killed and started again."""
    nodes = [start(cluster_enabled="yes", cluster_node_timeout="1000") for _ in range(3)]
    for number, node in enumerate(nodes):
        first = 5461 * number
        node.command(f"CLUSTER ADDSLOTSRANGE {first} {16_383 if number == 2 else first + 5460}")
        node.command(f"CLUSTER MEET 127.0.0.1 {nodes[0].port} {nodes[0].bus}")
    for node in nodes:
        wait_until(partial(is_whole, node))
    hosts = f"127.0.0.1:1,127.0.0.1:{nodes[1].port}"
    for state in ("a", "b", "c", "d"):
        with closing(open_store(f"redis+cluster://{hosts}?state={state}")) as store:
            store.write({"record": b"1"}, expect={"record": None})
            with pytest.raises(FencedError):
                store.write({"record": b"2"}, expect={"record": None})
    holds = [b"autostate:" in node.command("KEYS autostate:*") for node in nodes]
    assert sum(holds) >= 2
    plain = f"redis://127.0.0.1:{nodes[holds.index(True) - 1].port}?state="
    with pytest.raises(StoreError, match=r"redis\+cluster://"):
        for state in ("a", "b", "c", "d"):
            with closing(open_store(f"{plain}{state}")) as store:
                store.write({"record": b"2"})
    with closing(open_store(f"redis+cluster://{hosts}?state=a")) as store:
        for node in nodes:
            node.kill()
            node.start()
        patient(lambda: store.write({"record": b"3"}, timeout=1))
        assert [*store.read_many(["record"])] == [b"3"]
