"""Settings are checked early, and differ by store."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from autostate.settings import NAMES, Settings, default_url


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


def test_an_unknown_setting_names_those_nearest_to_it() -> None:
    """A typing error is found at once, with its mend."""
    with pytest.raises(TypeError, match=r"'debouce'; did you mean debounce"):
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
    """They are replaced as a whole, so the flusher's thread never sees half of a change."""
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


def test_an_actor_uses_its_key_value_store(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the platform, when apify is loaded, or in a folder with `.actor`."""
    monkeypatch.delitem(sys.modules, "apify", raising=False)
    assert default_url({}) == "sqlite:///.autostate/state.db"
    assert default_url({"APIFY_IS_AT_HOME": "1"}) == "apify:"
    assert default_url({"APIFY_IS_AT_HOME": "0"}) == "sqlite:///.autostate/state.db"
    monkeypatch.setitem(sys.modules, "apify", sys)
    assert default_url({}) == "apify:"
    monkeypatch.delitem(sys.modules, "apify")
    (isolated / ".actor").mkdir()
    assert default_url({}) == "apify:"
