"""Settings are checked early, and differ by store."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import settings as settings_module
from autostate.runtime.manager import StateManager
from autostate.settings import MIB, NAMES, VARIABLES, Settings, default_url


def test_local_stores_save_well_under_a_second() -> None:
    """A SQLite commit costs a fraction of a millisecond: waiting buys nothing."""
    for url in ("sqlite:///a.db", "memory:", "memory:shared"):
        assert Settings.for_store(url).debounce < 0.5
        assert Settings.for_store(url).max_delay <= 1


def test_apify_gathers_changes_for_tens_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write costs money there."""
    monkeypatch.setenv("APIFY_IS_AT_HOME", "1")
    for url in ("apify:", "apify:my-store"):
        assert 10 <= Settings.for_store(url).debounce <= 60
        assert Settings.for_store(url).max_dirty_bytes < 9_000_000


def test_off_the_platform_apifys_folder_is_as_good_as_any() -> None:
    """Files cost nothing: whoever tries a kill there is not to wait for half a minute."""
    assert Settings.for_store("apify:") == Settings.for_store("memory:")


def test_overrides_win_over_the_defaults_of_the_store() -> None:
    """What the user sets holds."""
    assert Settings.for_store("apify:", debounce=1).debounce == 1


def test_an_unknown_setting_names_the_nearest_one() -> None:
    """A typing error is found at once, with its mend."""
    with pytest.raises(TypeError, match=r"'debouce'; did you mean debounce\?$"):
        Settings.for_store("memory:", debouce=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="on_corrupt"):
        Settings.for_store("memory:").changed(oncorrupt="raise")  # type: ignore[call-arg]


def test_a_setting_near_to_nothing_lists_all() -> None:
    """Without a near match the message still says what there is."""
    with pytest.raises(TypeError, match=NAMES[-1]):
        Settings.for_store("memory:", zzz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("debounce", -1),
        ("debounce", float("nan")),
        ("max_delay", float("inf")),
        ("max_delay", 1e10),
        ("debounce", 10**400),
        ("flush_timeout", 0),
        ("flush_timeout", "30"),
        ("check_interval", None),
        ("max_dirty_bytes", 0),
        ("migrating_debounce", -0.1),
        ("duty_cycle", 0),
        ("duty_cycle", 5),
        ("duty_cycle", True),
        ("on_corrupt", "ignore"),
        ("on_unknown", "ignore"),
        ("reboot_on_migrating", "yes"),
        ("status_message", "yes"),
        ("publish", ""),
        ("publish", "two words"),
        ("publish", "INPUT"),
        ("publish", "autostate-head"),
        ("publish", "SDK_CRAWLER_STATISTICS_0"),
        ("publish", "APIFY_GLOBAL_STATE"),
        ("publish", "CRAWLEE_STATE_0: progress"),
        ("publish", "__RQ_STATE_0"),
        ("publish", True),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    """The message names the setting and says what would be right."""
    with pytest.raises(ValueError, match=f"^{name} must be "):
        Settings.for_store("memory:", **{name: value})


def test_debounce_and_max_delay_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sets only one of the two never gets an error about the other."""
    monkeypatch.setenv("APIFY_IS_AT_HOME", "1")
    assert Settings.for_store("memory:", debounce=30).max_delay == 30
    assert Settings.for_store("apify:", max_delay=3).debounce == 3
    with pytest.raises(ValueError, match="shorter than debounce"):
        Settings.for_store("memory:", debounce=3, max_delay=2)


def test_settings_are_frozen() -> None:
    """They are replaced as a whole, so the flush thread never sees half of a change."""
    settings = Settings.for_store("memory:")
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.debounce = 3  # type: ignore[misc]
    assert settings.changed(debounce=0).debounce == 0
    assert settings.debounce > 0


def test_every_setting_is_documented() -> None:
    """The docstring names each one."""
    documented = inspect.cleandoc(Settings.__doc__ or "")  # from 3.13 on it is so by itself
    for name in NAMES:
        assert f"    {name}: " in documented


def test_the_environment_names_the_default_store() -> None:
    """`AUTOSTATE_URL` beats whatever is guessed; blank counts as unset."""
    inside = {"APIFY_IS_AT_HOME": "1"}
    assert default_url({"AUTOSTATE_URL": "memory:", **inside}) == "memory:"
    assert default_url({"AUTOSTATE_URL": " ", **inside}) == "apify:"


def test_the_url_in_the_environment_may_name_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """One setting for several programs gives each a store of its own."""
    monkeypatch.setattr(sys, "argv", ["/srv/crawl.py"])
    url = default_url({"AUTOSTATE_URL": "sqlite:////data/{program}.db"})
    assert url == "sqlite:////data/crawl.db"


def test_an_actor_uses_its_key_value_store(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the platform, when apify is loaded, or in a folder with `.actor`."""
    monkeypatch.delitem(sys.modules, "apify", raising=False)
    monkeypatch.setattr(sys, "argv", ["crawl.py", "--all"])
    assert default_url({}) == "sqlite:///.autostate/crawl.db"
    assert default_url({"APIFY_IS_AT_HOME": "1"}) == "apify:"
    assert default_url({"APIFY_IS_AT_HOME": "0"}) == "sqlite:///.autostate/crawl.db"
    monkeypatch.setitem(sys.modules, "apify", sys)
    assert default_url({}) == "apify:"
    monkeypatch.delitem(sys.modules, "apify")
    (isolated / ".actor").mkdir()
    assert default_url({}) == "apify:"


# -- the environment --------------------------------------------------------------------------

VALUES = {
    "debounce": ("0.5", 0.5),
    "max_delay": ("7", 7),
    "max_dirty_bytes": ("1000", 1000),
    "duty_cycle": ("0.5", 0.5),
    "flush_timeout": ("12.5", 12.5),
    "check_interval": ("5", 5),
    "migrating_debounce": ("0", 0),
    "on_corrupt": ("previous", "previous"),
    "on_unknown": ("keep", "keep"),
    "reboot_on_migrating": ("true", True),
    "in_step": ("true", True),
    "status_message": ("yes", True),
    "publish": ("STATE_VIEW: a, b", "STATE_VIEW: a, b"),
    "key": ("a-key-of-sixteen-bytes", (b"a-key-of-sixteen-bytes",)),
    "encrypt": ("false", False),
    "history": ("30d", "30d"),
    "shared": ("sqlite:///s.db", "sqlite:///s.db"),
    "shared_refresh": ("2.5", 2.5),
    "wait_for_owner": ("60", 60),
    "lease": ("10", 10),
    "takeover": ("yes", True),
    "readonly": ("on", True),
    "on_fenced": ("exit", "exit"),
}


@pytest.mark.parametrize("name", NAMES)
def test_each_setting_has_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sets what `configure` sets, and an argument beats it; blank is unset."""
    text, value = VALUES[name]
    variable = VARIABLES[name]
    default = Settings.for_store("memory:")
    monkeypatch.setenv(variable, f" {text} ")
    assert getattr(Settings.for_store("memory:"), name) == value
    assert getattr(StateManager("memory:").settings, name) == value
    given: Any = {name: getattr(default, name)}
    assert getattr(StateManager("memory:", **given).settings, name) == getattr(default, name)
    monkeypatch.setenv(variable, "  ")
    assert Settings.for_store("memory:") == default


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("debounce", "soon"),
        ("debounce", "-1"),
        ("max_delay", "nan"),
        ("max_dirty_bytes", "0"),
        ("duty_cycle", "5"),
        ("flush_timeout", "30s"),
        ("on_corrupt", "ignore"),
        ("on_unknown", "KEEP"),
        ("reboot_on_migrating", "maybe"),
        ("status_message", "maybe"),
        ("publish", ": progress"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the store is configured or opened, at the latest at the first state object."""
    monkeypatch.setenv(VARIABLES[name], text)
    told = f"^the environment variable {VARIABLES[name]}: {name} must be "
    for use in (autostate.configure, autostate.open):
        with pytest.raises(ValueError, match=told):
            use("memory:")
    with pytest.raises(ValueError, match=told):
        autostate.PersistedDict("pages")


@pytest.fixture
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable was warned of yet in this process."""
    monkeypatch.setattr(settings_module, "_warned_of", set())


@pytest.mark.usefixtures("unwarned", "isolated")
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AUTOSTATE_DEBOUNSE", "AUTOSTATE_DEBOUNCE"),
        ("AUTOSTATE_TIMEOUT", "AUTOSTATE_FLUSH_TIMEOUT"),
        ("AUTOSTATE_URI", "AUTOSTATE_URL"),
        ("autostate_debounce", "AUTOSTATE_DEBOUNCE"),
        ("AUTOSTATE_COLOUR", None),
    ],
)
def test_a_variable_that_sets_nothing_is_warned_of_once(
    name: str,
    meant: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """When the first state object is made; with the one that was meant, and all there are."""
    monkeypatch.setenv(name, "secret")
    autostate.PersistedDict("pages")
    autostate.PersistedDict("others")
    Settings.for_store("memory:")
    (told,) = [each for each in caplog.messages if "sets nothing" in each]
    assert told.startswith(f"the environment variable {name} sets nothing")
    assert (f"did you mean {meant}?" in told) == (meant is not None)
    assert all(each in told for each in ("AUTOSTATE_URL", *VARIABLES.values()))
    assert "secret" not in told


def test_variables_that_are_known_are_not_warned_of(
    unwarned: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor are those of the tests, which this reads out of them."""
    here = Path(__file__).parent
    read = re.compile(
        r"""environ(?:\.get\(|\[)?"(AUTOSTATE_\w+)"|"(AUTOSTATE_\w+)" (?:not )?in os"""
    )
    texts = [path.read_text() for path in here.rglob("*.py")]
    names = {one or other for text in texts for one, other in read.findall(text)}
    assert "AUTOSTATE_EXAMPLES" in names
    for name in names | {"AUTOSTATE_SEED", "XAUTOSTATE_DEBOUNCE", "AUTOSTATE"}:
        monkeypatch.setenv(name, "1")
    for name in ("AUTOSTATE_URL", "AUTOSTATE_SHARED_URL"):
        monkeypatch.setenv(name, "memory:")
    monkeypatch.setenv("AUTOSTATE_DEBOUNCE", "1")
    Settings.for_store("memory:")
    assert not caplog.messages


def test_variables_that_do_not_fit_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone each would do; with an argument the other one follows."""
    monkeypatch.setenv("AUTOSTATE_DEBOUNCE", "5")
    assert Settings.for_store("memory:").max_delay == 5
    assert Settings.for_store("memory:", max_delay=1).debounce == 1
    monkeypatch.setenv("AUTOSTATE_MAX_DELAY", "2")
    with pytest.raises(ValueError, match=r"AUTOSTATE_DEBOUNCE and AUTOSTATE_MAX_DELAY: max_delay"):
        Settings.for_store("memory:")


@pytest.mark.parametrize("url", [":memory:", "sqlite:///folder"])
def test_a_store_that_the_environment_names_wrongly_is_named(
    url: str, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the error finds where the URL comes from."""
    (isolated / "folder").mkdir()
    monkeypatch.setenv("AUTOSTATE_URL", url)
    with pytest.raises((ValueError, autostate.StoreError), match="variable AUTOSTATE_URL: "):
        autostate.PersistedDict("pages")


def test_the_table_of_settings_is_complete() -> None:
    """Each setting stands in docs/settings.md, with its variable and its defaults."""
    text = (
        (Path(__file__).parent.parent / "docs" / "settings.md").read_text().partition("## URLs")[0]
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    table = {row[0].strip("`"): row[1:] for row in rows if row and row[0].startswith("`")}
    assert set(table) == {*NAMES, "url"}
    for name in NAMES:
        variable, local, apify, _ = table[name]
        assert variable == f"`{VARIABLES[name]}`"
        for cell, platform in ((local, False), (apify, True)):
            values = settings_module._DEFAULTS["apify"] if platform else {}
            default = getattr(Settings(**values), name)
            shown = default // MIB if name == "max_dirty_bytes" else default
            assert cell.split(" ")[0].strip("`") == (
                f"{shown:g}" if type(shown) in (int, float) else str(shown)
            )


@pytest.mark.parametrize(
    ("history", "keep"),
    [
        (None, None),
        (0, (0.0, 0)),
        (1000, (0.0, 1000)),
        ("45s", (45.0, 0)),
        ("90 m", (5400.0, 0)),
        ("1.5h", (5400.0, 0)),
        ("30d", (30 * 86_400.0, 0)),
        ("2w", (14 * 86_400.0, 0)),
    ],
)
def test_a_history_is_an_age_or_a_number(
    history: str | int | None, keep: tuple[float, int] | None
) -> None:
    """In seconds, or of commits."""
    assert Settings.for_store("memory:", history=history).keep == keep


@pytest.mark.parametrize(
    ("text", "keep"), [("1000", (0.0, 1000)), ("0", (0.0, 0)), ("1d", (86_400.0, 0))]
)
def test_the_environment_sets_a_history(
    monkeypatch: pytest.MonkeyPatch, text: str, keep: tuple[float, int]
) -> None:
    """Where all is text, a number is one of commits."""
    monkeypatch.setenv("AUTOSTATE_HISTORY", text)
    assert Settings.for_store("memory:").keep == keep


@pytest.mark.parametrize("history", ["", "30", "d", "30 days", "-1d", "0d", "1e9d", -1, True, 1.5])
def test_a_history_that_makes_no_sense_is_refused(history: Any) -> None:
    """With what would make sense."""
    with pytest.raises(ValueError, match='history must be an age such as "30d"'):
        Settings.for_store("memory:", history=history)


# -- the shared state -------------------------------------------------------------------------


def test_the_shared_state_is_named_by_url_or_path(isolated: Path) -> None:
    """As the state is; what a program shows of it has no password."""
    for given, url in (
        ("memory:hits", "memory:hits"),
        (isolated / "s.db", f"sqlite:///{isolated}/s.db"),
        ("redis://me:secret@host/0?state=s", "redis://host/0?state=s"),
    ):
        assert Settings.for_store("memory:", shared=given).shared == url
        manager = StateManager("memory:", shared=given)
        assert manager.settings.shared == url
        assert "secret" not in repr((manager.settings, manager._overrides))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "shared must be the URL of a store"),
        (5, "shared must be the URL of a store"),
        ("reddis://host", "shared: reddis: begins no URL of a store"),
        ("shared.db", "shared: 'shared.db' is not the URL of a store"),
        ("sqlite:///{name}.db", r"shared: .*nothing is put in the place of \{name\}"),
        ("apify:", "shared: no other run has .* apify:NAME"),
    ],
)
def test_a_shared_state_that_is_named_wrongly_is_refused(url: Any, told: str) -> None:
    """When it is configured."""
    with pytest.raises(ValueError, match=told):
        autostate.configure(shared=url)
    with pytest.raises(ValueError, match=told):
        autostate.open("memory:", shared=url)


def test_the_environment_names_the_shared_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error names the variable; blank counts as unset."""
    monkeypatch.setenv("AUTOSTATE_SHARED_URL", "apify:")
    with pytest.raises(ValueError, match="variable AUTOSTATE_SHARED_URL: shared: no other run"):
        autostate.configure("memory:")
    monkeypatch.setenv("AUTOSTATE_SHARED_URL", " ")
    assert autostate.configure("memory:").settings.shared is None


def test_a_place_where_nothing_can_be_shared_is_refused(isolated: Path) -> None:
    """When it is configured, as that of the state."""
    (isolated / "folder").mkdir()
    with pytest.raises(autostate.StoreError, match="it is a folder"):
        autostate.configure(shared=isolated / "folder")
