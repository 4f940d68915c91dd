"""Keys: which one signs, which are accepted, and which are not to be trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from autostate.settings import Settings
from autostate.signing import BadSignatureError, KeyFile, NoKeyError, Signer

OLD, NEW = b"o" * 16, b"n" * 16
DATA = b"some pickle"


def no_keys() -> Sequence[bytes]:
    """Nothing is set."""
    return ()


@pytest.fixture
def database(isolated: Path) -> Path:
    """A SQLite file, as far as a key file is concerned."""
    file = isolated / "state.db"
    file.touch()
    return file


def signer(database: Path, *keys: bytes) -> Signer:
    """What signs for a SQLite file."""
    return Signer(f"sqlite:///{database}", lambda: keys)


def names(database: Path) -> list[str]:
    """What lies in the folder of the database."""
    return sorted(file.name for file in database.parent.iterdir())


# -- signatures -------------------------------------------------------------------------------


def test_a_signature_holds_for_exactly_these_bytes_and_this_key() -> None:
    """Any other byte, signature or key is refused; so is a signature that is no signature."""
    made = Signer("apify:", lambda: [OLD])
    signature = made.sign(DATA)
    made.verify(DATA, signature)
    wrong = [(DATA + b" ", signature), (DATA, signature[:-1] + "g"), (DATA, ""), (DATA, "ä\ud800")]
    for data, given in wrong:
        with pytest.raises(BadSignatureError, match="signed with another key"):
            made.verify(data, given)
    with pytest.raises(BadSignatureError):
        Signer("apify:", lambda: [NEW]).verify(DATA, signature)


def test_of_several_keys_the_first_signs_and_all_are_accepted() -> None:
    """So a key can be changed: what the old one signed is still read, and signed anew."""
    old, both = Signer("apify:", lambda: [OLD]), Signer("apify:", lambda: [NEW, OLD])
    new = Signer("apify:", lambda: [NEW])
    both.verify(DATA, old.sign(DATA))
    new.verify(DATA, both.sign(DATA))
    with pytest.raises(BadSignatureError):
        new.verify(DATA, old.sign(DATA))


def test_without_a_key_an_error_says_how_to_set_one() -> None:
    """On a store that others can write to there is nowhere to keep one."""
    made = Signer("apify:my-store", no_keys)
    with pytest.raises(NoKeyError, match=r"key, or AUTOSTATE_KEY") as caught:
        made.sign(DATA)
    assert "token_urlsafe" in str(caught.value)
    with pytest.raises(BadSignatureError, match="no key is set"):
        made.verify(DATA, "00")


def test_state_in_memory_is_signed_with_a_key_of_the_process() -> None:
    """Every store in memory of this process accepts it; another process has another."""
    signature = Signer("memory:", no_keys).sign(DATA)
    Signer("memory:shared", no_keys).verify(DATA, signature)
    code = (
        "import sys; from autostate.signing import Signer; "
        f"print(Signer('memory:', tuple).sign({DATA!r}))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(other.stdout.strip()) == len(signature)
    assert other.stdout.strip() != signature


# -- the key beside a SQLite file -------------------------------------------------------------


def test_a_key_is_made_beside_the_file_when_it_is_first_needed(database: Path) -> None:
    """Private, complete, and nothing else is left behind."""
    made = signer(database)
    with pytest.raises(BadSignatureError, match=r"state\.db\.key is not there"):
        made.verify(DATA, "00")
    assert names(database) == ["state.db"]
    signature = made.sign(DATA)
    key = database.with_name("state.db.key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_bytes()) == 32
    assert names(database) == ["state.db", "state.db.key"]
    signer(database).verify(DATA, signature)
    assert signer(database).sign(DATA) == signature


def test_a_umask_does_not_matter(database: Path) -> None:
    """The key is readable by its owner and nobody else, whatever the process is used to."""
    before = os.umask(0)
    try:
        signer(database).sign(DATA)
    finally:
        os.umask(before)
    assert database.with_name("state.db.key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_set_goes_before_the_one_in_the_file(database: Path) -> None:
    """What the file's key has signed is still accepted."""
    signature = signer(database).sign(DATA)
    signer(database, NEW).verify(DATA, signature)
    assert signer(database, NEW).sign(DATA) == Signer("apify:", lambda: [NEW]).sign(DATA)


def test_of_two_that_make_a_key_at_once_the_first_wins(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has seen that there is no key; before it makes one, another process does."""
    create = KeyFile.give
    others: list[str] = []

    def overtaken(self: KeyFile, key: bytes) -> None:
        if not others:
            others.append("")
            others[0] = signer(database).sign(DATA)
        create(self, key)

    monkeypatch.setattr(KeyFile, "give", overtaken)
    assert signer(database).sign(DATA) == others[0]
    assert names(database) == ["state.db", "state.db.key"]
    signer(database).verify(DATA, others[0])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o606])
def test_a_key_that_others_can_read_or_write_is_refused(database: Path, mode: int) -> None:
    """To sign with it, and to verify with it."""
    signature = signer(database).sign(DATA)
    database.with_name("state.db.key").chmod(mode)
    with pytest.raises(NoKeyError, match=r"state\.db\.key can be read or written by others: chmod"):
        signer(database).sign(DATA)
    with pytest.raises(BadSignatureError, match="by others"):
        signer(database).verify(DATA, signature)


def test_a_running_program_notices_that_others_can_read_the_key(database: Path) -> None:
    """It does not go on with the one it knows."""
    made = signer(database)
    made.sign(DATA)
    database.with_name("state.db.key").chmod(0o644)
    with pytest.raises(NoKeyError, match="by others"):
        made.sign(DATA)


def test_a_key_of_another_user_is_refused(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who may write to the folder has put it there."""
    signature = signer(database).sign(DATA)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(NoKeyError, match=r"state\.db\.key belongs to another user"):
        signer(database).sign(DATA)
    with pytest.raises(BadSignatureError, match="belongs to another user"):
        signer(database).verify(DATA, signature)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("foreign", ["state.db", "."])
def test_no_key_is_made_beside_what_another_user_owns(database: Path, foreign: str) -> None:
    """The error names what is not ours, and says how to set a key."""
    os.chown(database.parent / foreign, 12345, -1)
    with pytest.raises(NoKeyError, match=r"another user's: set key"):
        signer(database).sign(DATA)
    assert "state.db.key" not in names(database)
    signer(database, NEW).sign(DATA)


def test_a_link_or_folder_in_the_place_of_the_key_is_refused(database: Path) -> None:
    """Whoever can write to the folder could point it at a file of which he knows the content."""
    key = database.with_name("state.db.key")
    known = database.with_name("known")
    known.write_bytes(b"k" * 32)
    known.chmod(0o600)
    key.symlink_to(known)
    with pytest.raises(NoKeyError, match="cannot be read"):
        signer(database).sign(DATA)
    key.unlink()
    key.mkdir(mode=0o700)
    with pytest.raises(NoKeyError, match="is not a file"):
        signer(database).sign(DATA)
    key.rmdir()
    os.mkfifo(key, 0o600)
    with pytest.raises(NoKeyError, match="is not a file"):
        signer(database).sign(DATA)


@pytest.mark.parametrize("content", [b"", b"k" * 31, b"k" * 33])
def test_half_a_key_is_no_key(database: Path, content: bytes) -> None:
    """A file that was cut short is not signed with, nor overwritten."""
    key = database.with_name("state.db.key")
    key.write_bytes(content)
    key.chmod(0o600)
    with pytest.raises(NoKeyError, match="is damaged"):
        signer(database).sign(DATA)
    assert key.read_bytes() == content


def test_a_key_that_was_deleted_with_its_database_is_put_back(database: Path) -> None:
    """A running program goes on to sign with it, and the next one has to know it."""
    made = signer(database)
    signature = made.sign(DATA)
    database.with_name("state.db.key").unlink()
    assert made.sign(DATA) == signature
    signer(database).verify(DATA, signature)


def test_a_key_that_was_only_read_is_put_back_too(database: Path) -> None:
    """What was verified with it is signed with it."""
    signature = signer(database).sign(DATA)
    made = signer(database)
    made.verify(DATA, signature)
    database.with_name("state.db.key").unlink()
    assert made.sign(DATA) == signature


def test_a_link_to_the_database_has_the_same_key(database: Path) -> None:
    """The key lies beside the file itself."""
    link = database.with_name("link.db")
    link.symlink_to(database)
    signer(database).verify(DATA, signer(link).sign(DATA))


def test_a_folder_that_is_gone_is_named(database: Path) -> None:
    """The database was deleted, and its folder with it."""
    made = signer(database.parent / "gone" / "state.db")
    with pytest.raises(NoKeyError, match=r"gone/state\.db cannot be found"):
        made.sign(DATA)


def test_where_no_link_can_be_made_an_error_says_how_to_set_a_key(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems have no hard links; nothing is left behind there."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(NoKeyError, match=r"cannot be made \(Operation not permitted\): set key"):
        signer(database).sign(DATA)
    assert names(database) == ["state.db"]


# -- the setting ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"k" * 16, "ä" * 8, " " + "k" * 16 + "\n"])
def test_a_key_is_bytes_or_a_text(key: bytes | str) -> None:
    """Of a text the blanks around it do not count, as a file or variable may bring them."""
    expected = key if isinstance(key, bytes) else key.strip().encode()
    assert Settings(key=key).keys == (expected,)


@pytest.mark.parametrize("key", [b"k" * 15, "k" * 14, "", ("k" * 16, "short"), " " * 16])
def test_a_key_that_is_too_short_is_refused_and_not_shown(key: bytes | str) -> None:
    """The message says how to come by one."""
    with pytest.raises(ValueError, match="key must be at least 16 bytes") as caught:
        Settings.for_store("memory:", key=key)
    assert "kkk" not in str(caught.value)
    assert "token_urlsafe" in str(caught.value)


def test_a_key_that_is_no_key_is_refused() -> None:
    """A number for example."""
    with pytest.raises(ValueError, match="key must be bytes or a text, not int"):
        Settings.for_store("memory:", key=3)  # type: ignore[arg-type]


def test_settings_do_not_show_the_key() -> None:
    """They may be logged."""
    assert "secret" not in repr(Settings(key="secret" * 4))


def test_the_environment_gives_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several are separated by blanks; the setting goes before; a short one is an error at once."""
    assert Settings().keys == ()
    monkeypatch.setenv("AUTOSTATE_KEY", f"{'n' * 16} {'o' * 16}")
    assert Settings().keys == (NEW, OLD)
    assert Settings(key="set" * 6).keys == (b"set" * 6,)
    monkeypatch.setenv("AUTOSTATE_KEY", "short")
    with pytest.raises(ValueError, match="AUTOSTATE_KEY must be at least 16 bytes"):
        Settings()
