"""A table of a SQL database: SQLite, and PostgreSQL where it is installed."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Final

import pytest

import autostate
from autostate.delivery import OutboxItem, SqlTable
from autostate.errors import DeliveryRefusedError
from tests.delivery import postgres

DATABASES: Final = ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)]
Read = Callable[[str], list[tuple[Any, ...]]]
Make = Callable[..., SqlTable]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """A server for all tests of this file."""
    with postgres.server() as url:
        yield url


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """A database without the tables of these tests."""
    if request.param == "sqlite":
        return "out.db"
    url: str = request.getfixturevalue("postgresql")
    with closing(postgres.connect(url)) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url


@pytest.fixture
def read(database: str) -> Read:
    """The rows of a statement."""

    def rows(statement: str) -> list[tuple[Any, ...]]:
        opened = sqlite3 if database == "out.db" else postgres
        with closing(opened.connect(database)) as connection:
            return [*map(tuple, connection.execute(statement).fetchall())]

    return rows


@pytest.fixture
def make() -> Iterator[Make]:
    """Make destinations that are closed after the test."""
    made: list[SqlTable] = []

    def maker(*args: Any, **options: Any) -> SqlTable:
        made.append(SqlTable(*args, **options))
        return made[-1]

    yield maker
    for each in made:
        each.close()


def items(*values: Any, first: int = 0) -> list[OutboxItem[Any]]:
    """Items with these values."""
    return [OutboxItem(f"box-{at}", at, value) for at, value in enumerate(values, first)]


def test_items_become_rows(database: str, read: Read, make: Make) -> None:
    """The id of each is its key; what is nested is written as JSON."""
    columns = {"url": "TEXT", "size": "INTEGER", "tags": "TEXT"}
    pages = make(database, "pages", columns, create=True)
    pages.deliver(items({"url": "a", "size": 1, "tags": ["x", {"y": 1}]}, {"url": "b"}), None)
    assert read("SELECT item_id, url, size, tags FROM pages ORDER BY 1") == [
        ("box-0", "a", 1, '["x", {"y": 1}]'),
        ("box-1", "b", None, None),
    ]


def test_an_item_that_comes_again_changes_nothing(database: str, read: Read, make: Make) -> None:
    """After a lost answer, or a kill before the delivery was recorded."""
    pages = make(database, "pages", ["url"], create=True)
    pages.deliver(items({"url": "a"}, {"url": "b"}), None)
    again = make(database, "pages", ["url"], create=True)
    again.deliver(items({"url": "a"}, {"url": "b"}, {"url": "c"}), None)
    assert read("SELECT url FROM pages ORDER BY item_id") == [("a",), ("b",), ("c",)]


def test_a_batch_is_one_transaction(database: str, read: Read, make: Make) -> None:
    """An error in the midst of it leaves nothing."""
    pages = make(database, "pages", {"n": "INTEGER NOT NULL"}, create=True)
    pages.deliver(items({"n": 1}), None)
    with pytest.raises(Exception, match=r"(?i)null"):
        pages.deliver(items({"n": 2}, {"n": None}, first=1), None)
    pages.deliver(items({"n": 3}, first=3), None)  # the connection is of use still
    assert read("SELECT n FROM pages ORDER BY 1") == [(1,), (3,)]


def test_a_row_that_breaks_another_rule_is_an_error(database: str, read: Read, make: Make) -> None:
    """It is not left out without a word."""
    pages = make(database, "pages", {"url": "TEXT UNIQUE"}, create=True)
    pages.deliver(items({"url": "a"}), None)
    with pytest.raises(Exception, match=r"(?i)unique"):
        pages.deliver(items({"url": "a"}, first=1), None)


def test_a_table_without_a_unique_key_is_an_error(database: str, read: Read, make: Make) -> None:
    """It would take items twice."""
    opened = sqlite3 if database == "out.db" else postgres
    with closing(opened.connect(database)) as connection:
        connection.execute("CREATE TABLE pages (item_id TEXT, url TEXT)")
    pages = make(database, "pages", ["url"])
    with pytest.raises(Exception, match="ON CONFLICT"):
        pages.deliver(items({"url": "a"}), None)


def test_names_are_quoted(database: str, read: Read, make: Make) -> None:
    """Whatever they hold; a schema stands before a dot."""
    schema = "main" if database == "out.db" else "public"
    columns = ['select "x"', "100 %"]
    pages = make(database, f'{schema}.odd "name"', columns, key="the key", create=True)
    pages.deliver(items({'select "x"': "1", "100 %": "2"}), None)
    assert read('SELECT * FROM "odd ""name"""') == [("box-0", "1", "2")]


def test_rows_may_be_sequences_or_made_by_a_function(database: str, read: Read, make: Make) -> None:
    """And the columns may be those of each row."""
    pages = make(
        database, "pages", ["url", "size"], row=lambda value: (value, str(len(value))), create=True
    )
    pages.deliver(items("abc"), None)
    loose = make(database, "pages")
    loose.deliver(items({"url": "a"}, {"size": "7"}, {"url": "b"}, first=1), None)
    for bad in ("text", 5, {"no such": 1}):
        with pytest.raises((TypeError, ValueError)):
            make(database, "pages", ["url"]).deliver(items(bad), None)
    with pytest.raises(ValueError, match="1 values for 2 columns"):
        make(database, "pages", ["url", "size"], row=tuple).deliver(items("a"), None)
    assert read("SELECT url, size FROM pages ORDER BY item_id") == [
        ("abc", "3"),
        ("a", None),
        (None, "7"),
        ("b", None),
    ]


def test_a_statement_of_ones_own(database: str, read: Read, make: Make) -> None:
    """It gets the id, and the values by position or by name."""
    make(database, "pages", {"n": "INTEGER"}, create=True).deliver([], None)
    mark, named = ("?", ":n") if database == "out.db" else ("%s", "%(n)s")
    key = ":item_id" if database == "out.db" else "%(item_id)s"
    insert = "INSERT INTO pages VALUES ({}, {}) ON CONFLICT DO NOTHING"
    for statement, row in (
        (insert.format(mark, mark), lambda value: [value]),
        (insert.format(key, named), lambda value: {"n": value}),
    ):
        pages = make(database, "pages", row=row, statement=statement)
        pages.deliver(items(1, 2), None)
        pages.deliver(items(1, 2), None)
    assert read("SELECT n FROM pages ORDER BY 1") == [(1,), (2,)]


def test_a_connection_of_ones_own(database: str, read: Read, make: Make) -> None:
    """Made in the thread of the outbox, and again after it was lost."""
    made: list[Any] = []

    def connect() -> Any:
        opened = sqlite3 if database == "out.db" else postgres
        made.append(opened.connect(database))
        return made[-1]

    with autostate.open("memory:"):
        pages = make(connect, "pages", ["url"], create=True)
        box = autostate.outbox("box", pages)
        box.put({"url": "a"})
        assert box.drain()
    assert read("SELECT url FROM pages") == [("a",)]
    assert len(made) == 1


def test_a_locked_database_is_no_fault_of_an_item(make: Make) -> None:
    """It is tried again, whoever holds the lock."""
    pages = make(lambda: sqlite3.connect("out.db", timeout=0), "pages", ["url"], create=True)
    with closing(sqlite3.connect("out.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConnectionError, match="locked"):
            pages.deliver(items({"url": "a"}), None)
        other.rollback()
    pages.deliver(items({"url": "a"}), None)


def test_a_missing_table_is_an_error_of_its_own(database: str, make: Make) -> None:
    """Not one of the connection, which would be tried for ever without a word."""
    pages = make(database, "pages", ["url"])
    with pytest.raises(Exception, match=r"no such table|does not exist") as raised:
        pages.deliver(items({"url": "a"}), None)
    assert not isinstance(raised.value, OSError)


@pytest.mark.servers
def test_a_connection_that_is_lost_is_made_again(postgresql: str, make: Make) -> None:
    """The error counts against no item."""
    pages = make(postgresql, "lost", ["url"], create=True)
    pages.deliver(items({"url": "a"}), None)
    with closing(postgres.connect(postgresql)) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
    with pytest.raises(ConnectionError):
        pages.deliver(items({"url": "b"}, first=1), None)
    pages.deliver(items({"url": "b"}, first=1), None)


@pytest.mark.servers
def test_who_may_not_write_is_refused(postgresql: str, make: Make) -> None:
    """Trying again does not mend it."""
    with closing(postgres.connect(postgresql)) as other:
        other.execute("DROP ROLE IF EXISTS reader")
        other.execute("CREATE ROLE reader LOGIN")
        other.execute("GRANT USAGE ON SCHEMA public TO reader")
        other.execute("CREATE TABLE IF NOT EXISTS private (item_id TEXT PRIMARY KEY, url TEXT)")
    pages = make(postgresql.replace("user=tests", "user=reader"), "private", ["url"])
    with pytest.raises(DeliveryRefusedError, match="permission denied"):
        pages.deliver(items({"url": "a"}), None)


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The items are kept."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DeliveryRefusedError, match=r"autostate\[postgresql\]"):
        SqlTable("postgresql://nowhere", "pages").deliver(items({"url": "a"}), None)


def test_arguments_that_make_no_sense_are_refused() -> None:
    """When the destination is made."""
    with pytest.raises(ValueError, match="needs the columns"):
        SqlTable("out.db", "pages", create=True)
    one = SqlTable("out.db", "pages", ["a"])
    assert one.is_same(SqlTable("out.db", "pages", ["a"]))
    assert not one.is_same(SqlTable("out.db", "pages", ["b"]))
