"""What only a PostgreSQL server does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate.errors import DamagedStoreError, FencedError, StoreError, StoreUnavailableError
from autostate.stores import open_store
from tests.conformance import store_kit
from tests.servers import need
from tests.servers.base import free_ports, wait_for, wait_until
from tests.servers.conftest import new_state
from tests.servers.kinds import PACKAGES
from tests.servers.postgres import NOBODY, Postgres
from tests.servers.proxy import check_interrupt, check_timeouts

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of this file's own."""
    need(*PACKAGES["postgres"])
    made = Postgres(syncs=False)
    made.start()
    yield made
    made.remove()


@pytest.fixture
def url(postgres: Postgres) -> str:
    """The URL of a state of the test's own."""
    return postgres.url(new_state())


def as_role(url: str, role: str) -> str:
    """The URL for another role."""
    return url.replace("user=tests", f"user={role}")


def test_fsync_off_is_said(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The server of this file has it off."""
    with closing(open_store(url)):
        assert "has fsync off" in caplog.text


def test_the_schema_has_a_name(postgres: Postgres, url: str) -> None:
    """Of letters, digits and _, capitals too; states of two schemas are apart."""
    with closing(open_store(f"{url}&schema=Other_1")) as store:
        store.write({"record": b"1"})
        assert store.read("record") == b"1"
        assert "schema=Other_1" in store.url
    with closing(open_store(url)) as store:
        assert store.read("record") is None
    with pytest.raises(StoreError, match="a schema cannot be called"):
        open_store(f"{url}&schema=a%22b")


def test_a_role_without_rights_is_told_which_it_needs(postgres: Postgres, url: str) -> None:
    """To make a schema; or to use one that somebody else has made."""
    postgres.execute("CREATE ROLE weak LOGIN")
    with closing(open_store(as_role(f"{url}&schema=weak", "weak"))) as store:
        assert store.read("record") is None
        with pytest.raises(StoreError, match="refuses this client: permission denied") as caught:
            store.write({"record": b"1"})
        assert "the right to create a schema" in str(caught.value)
    postgres.execute("CREATE SCHEMA weak; GRANT USAGE, CREATE ON SCHEMA weak TO weak")
    with closing(open_store(as_role(f"{url}&schema=weak", "weak"))) as store:
        store.write({"record": b"1"})
        assert store.read("record") == b"1"
    with pytest.raises(StoreError, match="refuses this client"):
        open_store(as_role(url, "nobody"))


def test_a_missing_password_is_told(postgres: Postgres, url: str) -> None:
    """And nobody waits for a server that answers; a wrong one is told, too."""
    [(hba,)] = postgres.rows("SHOW hba_file")
    rules = Path(hba)
    rules.write_text(f"local all secret scram-sha-256\n{rules.read_text()}")
    postgres.execute("CREATE ROLE secret LOGIN PASSWORD 'secret'")
    postgres.execute("SELECT pg_reload_conf()")
    errors = list[StoreError]()

    def is_refused() -> bool:
        try:
            open_store(as_role(url, "secret")).close()
        except StoreError as error:
            errors.append(error)
        return bool(errors)

    wait_until(is_refused)
    assert "refuses this client" in str(errors[0])
    with pytest.raises(StoreError, match="refuses this client"):
        open_store(as_role(url, "secret&password=wrong"))
    open_store(as_role(url, "secret&password=secret")).close()


def test_a_dropped_table_is_made_again(postgres: Postgres, url: str) -> None:
    """Everything is saved again, and said."""
    with autostate.open(f"{url}&schema=dropped", lease=1):
        pages = autostate.PersistedDict[str, int]("pages", first=1)
        autostate.flush()
        postgres.execute("DROP TABLE dropped.records")
        pages["second"] = 2
        autostate.flush()
    with autostate.open(f"{url}&schema=dropped", lease=1):
        assert autostate.PersistedDict[str, int]("pages") == {"first": 1, "second": 2}


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_snapshot_from_before_the_lock_is_refused(
    postgres: Postgres, url: str, level: str
) -> None:
    """What it compares may be old."""
    with closing(open_store(url)) as store:
        store.write({"record": b"1"})
    role = f"strict_{level[0]}"
    postgres.execute(
        f"CREATE ROLE {role} LOGIN SUPERUSER;"
        f"ALTER ROLE {role} SET default_transaction_isolation = '{level}'"
    )
    with (
        closing(open_store(as_role(url, role))) as store,
        pytest.raises(StoreError, match="default_transaction_isolation has to be read committed"),
    ):
        store.write({"record": b"2"})


def test_a_commit_is_synced_whatever_the_role_says(postgres: Postgres, url: str) -> None:
    """`synchronous_commit = off` would lose the last commits with the server."""
    postgres.execute(
        "CREATE ROLE quick LOGIN SUPERUSER; ALTER ROLE quick SET synchronous_commit = off;"
        "CREATE TABLE seen (value text);"
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        "  INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL;"
        "END $$"
    )
    with closing(open_store(as_role(f"{url}&schema=quick", "quick"))) as store:
        store.write({"record": b"1"})
        postgres.execute(
            "CREATE TRIGGER note AFTER UPDATE ON quick.records FOR EACH ROW EXECUTE FUNCTION note()"
        )
        store.write({"record": b"2"})
    assert postgres.rows("SELECT value FROM seen") == [("on",)]


def test_a_large_record_of_somebody_else_is_not_read(postgres: Postgres, url: str) -> None:
    """Nor is anything sent of it."""
    with closing(open_store(url)) as opened:
        store: Any = opened
        store.write({"record": b"x" * 100})
        store.max_record = 99
        with pytest.raises(DamagedStoreError, match="more than 99 bytes"):
            store.read("record")
        with pytest.raises(DamagedStoreError, match="more than 99 bytes"):
            store.scan(["record"])
        with pytest.raises(DamagedStoreError, match="more than 99 bytes"):
            next(store.read_many(["record"]))


def test_calls_end_in_time(postgres: Postgres) -> None:
    """After a timeout, and after Ctrl-C, the next call gets its own answer."""
    with postgres.proxy() as proxy, closing(open_store(postgres.url("late", proxy))) as store:
        check_interrupt(store, proxy)
        check_timeouts(store, proxy)


def test_a_lock_of_another_client_is_waited_for_in_time(postgres: Postgres, url: str) -> None:
    """A transaction that somebody has left open holds up a write, and no longer than it may."""
    with closing(open_store(url)) as store:
        store.write({"record": b"1"})
        with postgres.transaction() as other:
            other.execute("LOCK TABLE autostate.records")
            with pytest.raises(StoreUnavailableError, match="did not answer in time"):
                store.write({"record": b"2"}, timeout=0.2)
        assert store.read("record", timeout=10) in (b"1", b"2")


@pytest.mark.parametrize("check", store_kit.CHECKS, ids=store_kit.name)
def test_nothing_depends_on_the_connection(
    check: store_kit.Check, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call has a new one, as a pool may give each transaction another one."""
    from autostate.stores.postgresql import PostgresStore

    check_open = PostgresStore._check_open

    def anew(store: PostgresStore) -> None:
        check_open(store)
        if store._connection is not None:
            store._connection.close()

    monkeypatch.setattr(PostgresStore, "_check_open", anew)
    check(lambda: open_store(url))


@pytest.fixture(scope="module")
def pooled(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The beginning of URLs behind PgBouncer in transaction mode."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("there is no program pgbouncer: `apt-get install pgbouncer` brings it")
    folder = tmp_path_factory.mktemp("pgbouncer")
    [port] = free_ports(1)
    settings = folder / "pgbouncer.ini"
    (folder / "users").write_text('"tests" ""\n')
    settings.write_text(
        f"[databases]\npostgres = host={postgres.folder} user=tests\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {folder}/users\npool_mode = transaction\n"
        "default_pool_size = 2\n"
    )
    for each in (folder, *folder.iterdir(), *folder.parents[:2]):
        each.chmod(0o755)
    root: dict[str, Any] = {"user": NOBODY, "group": NOBODY} if os.getuid() == 0 else {}
    process = subprocess.Popen(
        [program, str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **root
    )
    url = f"postgresql://tests@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        try:
            open_store(f"{url}?state=first").close()
        except StoreUnavailableError:
            return False
        return True

    wait_for(answers, lambda: process.poll() is None)
    yield url
    process.kill()
    process.wait()


@pytest.mark.parametrize("check", store_kit.CHECKS, ids=store_kit.name)
def test_behind_pgbouncer(check: store_kit.Check, pooled: str) -> None:
    """With two connections to the server, of which each transaction gets any."""
    url = f"{pooled}?state={new_state()}"
    check(lambda: open_store(url))


def test_nul_is_no_text(url: str) -> None:
    """Records hold it, names do not."""
    with closing(open_store(url)) as store:
        store.write({"record": b"\0"}, expect={"record": None})
        assert store.read("record") == b"\0"
        with pytest.raises(FencedError):
            store.write({"record": b"\0\0"}, expect={"record": b""})
        with pytest.raises(StoreError):
            store.read("a\0b")
        assert store.read("record") == b"\0"
