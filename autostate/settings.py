"""The settings, their units and their defaults.

Defaults depend on the store. A local SQLite commit costs less than a millisecond and no money, so
waiting gains nothing; on Apify each write costs both time and money, so changes are gathered for
tens of seconds, and saved sooner only in a migration. On S3 a write costs a tenth of that.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypedDict, Unpack, get_args

from autostate import under_test
from autostate.ownership import program
from autostate.process import exit_status

OnCorrupt = Literal["raise", "previous"]
OnUnknown = Literal["raise", "keep"]
OnFenced = Literal["raise", "exit"]
Key = bytes | str

KIB = 1024
MIB = 1024 * KIB


class HasUrl(Protocol):
    """A store, of which only the URL matters here."""

    @property
    def url(self) -> str:
        """The URL that opens the store."""
        ...


class SettingsByName(TypedDict, total=False):
    """The attributes of `Settings` again, for `**settings`: so checkers know names and types."""

    debounce: float
    max_delay: float
    max_dirty_bytes: int
    duty_cycle: float
    flush_timeout: float
    check_interval: float
    migrating_debounce: float
    on_corrupt: OnCorrupt
    on_unknown: OnUnknown
    reboot_on_migrating: bool
    in_step: bool
    status_message: bool
    publish: str | None
    key: Key | tuple[Key, ...] | None
    encrypt: bool | None
    history: str | int | None
    shared: str | os.PathLike[str] | None
    shared_refresh: float | None
    wait_for_owner: float
    lease: float
    takeover: bool
    readonly: bool
    on_fenced: OnFenced


MOST_SECONDS = 1e9
"""The most seconds of a setting: clocks and locks can count ten times as many."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """When a manager saves, and what it does about problems.

    Made by `Settings.for_store`; `configure()` and `open()` take the same names. A setting that
    neither sets comes from an environment variable, such as `AUTOSTATE_DEBOUNCE`, if there is one.

    Attributes:
        debounce: Seconds without a write after which changes are saved.
        max_delay: Seconds after the first unsaved write when changes are saved although writing
            goes on. Also how long a blocked event loop may hold up a capture.
        max_dirty_bytes: Estimated unsaved bytes above which changes are saved at once, so that the
            last flush before a migration fits into the time that is left.
        duty_cycle: Largest share of the time that saving may take, 0 to 1. With slow flushes
            `debounce` and `max_delay` stretch until it is kept, to 30 s at most.
        flush_timeout: Seconds to wait for a store that does not answer, retries included: in a
            flush, when state is loaded, in the save at exit. Also the default timeout of
            `flush()` and `durable()`.
        check_interval: Seconds between checks whether a later process has taken over, on stores
            that cannot refuse a write by themselves.
        migrating_debounce: Seconds, in place of `debounce` and `max_delay`, from a `migrating` or
            `aborting` signal on.
        on_corrupt: What to do about a damaged record: "raise" CorruptStateError, or "previous": go
            back to the newest good snapshot (the damaged record is kept under another name).
        on_unknown: What to do about a stored value of a type that the program does not know:
            "raise" UnknownTypeError when its state object is created, or "keep": the value
            becomes an `autostate.Unknown`, and is written back untouched.
        reboot_on_migrating: In an Actor: save at `migrating`, then reboot at once instead of
            working until the kill.
        in_step: In an Actor: items that are pushed, events that are charged, and requests that
            are handled reach the platform after the save that covers them, each exactly once. Set
            it before the Actor is entered.
        status_message: In an Actor: tell the progress of loops, crawlers and outboxes as the
            status message of the run, unless the program sets one itself.
        publish: In an Actor: a key of the default key-value store under which a readable copy of
            the state objects is kept for the Console, such as "STATE_VIEW"; or a key and the names
            of some of them, "STATE_VIEW: progress, stats".
        key: A secret of at least 16 bytes, or a text of as many, with which every record is
            signed; an unsigned record is refused. Of several keys in a tuple the first signs, and
            all are accepted. By default the content of `AUTOSTATE_KEY`, where several keys are
            separated by blanks.
        encrypt: Whether to encrypt records, so that only owners of the key can read them; needs
            the extra `crypto`. None: like the stored records.
        history: The history to keep: commits up to an age, such as "30d" ("s", "m", "h", "d", "w"),
            or so many commits, such as 1000. 0: none. None: as the state has kept it so far, at
            first none.
        shared: The URL of the state that many processes share, or the path of a SQLite file; where
            SharedCounter, SharedSet and SharedDict live. By default `shared.db` beside the file of
            the program's own state. On a server and on Apify there is no default.
        shared_refresh: Seconds after which shared objects show again what others have published.
            None: only when the program calls their `refresh()`.
        wait_for_owner: Seconds to wait for the end of another live process that owns the state,
            before StateInUseError is raised. For an owner that has begun to end the wait is up
            to 10 s in any case.
        lease: Where nobody can tell whether an owner lives, as on a server: seconds for which it
            counts as alive without a sign of life, which it gives three times in this time. After
            a kill the next process waits so long; an orderly end is told.
        takeover: Take over the state from a live process, which cannot save from then on.
        readonly: Only read: nothing is written, no other process is disturbed, and every attempt
            to change a state object raises ReadOnlyError.
        on_fenced: What happens when another process has taken over, or has changed the state after
            this one has read it and before it could write: "raise": writes to state objects raise
            FencedError, or StateInUseError; "exit": the process ends at once, with exit code 75.
    """

    debounce: float = 0.2
    max_delay: float = 1.0
    max_dirty_bytes: int = 32 * MIB
    duty_cycle: float = 0.05
    flush_timeout: float = 30.0
    check_interval: float = 60.0
    migrating_debounce: float = 0.2
    on_corrupt: OnCorrupt = "raise"
    on_unknown: OnUnknown = "raise"
    reboot_on_migrating: bool = False
    in_step: bool = False
    status_message: bool = False
    publish: str | None = None
    key: Key | tuple[Key, ...] | None = field(default=None, repr=False)
    encrypt: bool | None = None
    history: str | int | None = None
    shared: str | os.PathLike[str] | None = None
    shared_refresh: float | None = None
    wait_for_owner: float = 0.0
    lease: float = 30.0
    takeover: bool = False
    readonly: bool = False
    on_fenced: OnFenced = "raise"

    def __post_init__(self) -> None:
        for name in _SECONDS:
            _check_number(name, getattr(self, name), zero=name in _MAY_BE_ZERO, unit="seconds")
        _check_number("max_dirty_bytes", self.max_dirty_bytes, zero=False, unit="bytes")
        _check_number("duty_cycle", self.duty_cycle, zero=False, unit="a share")
        if self.duty_cycle > 1:
            _refuse("duty_cycle", self.duty_cycle, "a share above 0 and at most 1, such as 0.05")
        for name, (choices, wanted) in _CHOICES.items():
            if getattr(self, name) not in choices:
                _refuse(name, getattr(self, name), wanted)
        if self.takeover and self.readonly:
            raise ValueError("a state cannot be taken over and only be read: set one of the two")
        _ = self.keep, self.published  # raise for what makes no sense
        if self.shared_refresh is not None:
            _check_number("shared_refresh", self.shared_refresh, zero=False, unit="seconds")
        if self.shared is not None:  # without credentials: settings are shown
            object.__setattr__(self, "shared", _url_of_shared(self.shared))
        if not self.keys and self.encrypt:  # reading `keys` also raises for a wrong key
            raise ValueError(f"to encrypt, autostate needs a key: set key, or {KEY_VARIABLE}")
        if self.max_delay < self.debounce:
            raise ValueError(
                f"max_delay ({self.max_delay} s) is shorter than debounce ({self.debounce} s), "
                "which could then never end a wait: set max_delay too"
            )

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys that are set, here or in the environment; the first one signs.

        Raises:
            ValueError: One of them is too short.
        """
        if self.key is not None:
            return _keys(self.key, "key")
        try:
            return _keys(tuple(os.environ.get(KEY_VARIABLE, "").split()), KEY_VARIABLE)
        except ValueError as error:
            raise exit_status.expect(error) from None

    @property
    def published(self) -> tuple[str, tuple[str, ...]] | None:
        """The key under which a readable copy is kept, and the names of the objects; none: all.

        Raises:
            ValueError: The setting makes no sense.
        """
        value: Any = self.publish
        if value is None:
            return None
        key, _, names = value.partition(":") if isinstance(value, str) else ("", "", "")
        key = key.strip()
        if not re.fullmatch(_APIFY_KEY, key) or re.match(_TAKEN_KEY, key):
            wanted = (
                'a key of the key-value store such as "STATE_VIEW", or "KEY: name, name", that '
                "neither autostate nor the SDK nor Crawlee uses"
            )
            _refuse("publish", value, wanted)
        return key, tuple(name.strip() for name in names.split(",") if name.strip())

    @property
    def keep(self) -> tuple[float, int] | None:
        """The history to keep: up to an age in seconds, and a number of commits; see `history`.

        Raises:
            ValueError: The setting is neither an age nor a number.
        """
        value = self.history
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_COMMITS:
            return 0.0, value
        found = re.fullmatch(_AGE, value.strip()) if isinstance(value, str) else None
        seconds = 0.0 if found is None else float(found[1]) * _UNITS[found[2]]
        if not 0 < seconds <= MOST_SECONDS:
            _refuse("history", value, 'an age such as "30d", or a number of commits such as 1000')
        return seconds, 0

    @classmethod
    def for_store(cls, store: str | HasUrl, /, **overrides: Unpack[SettingsByName]) -> Settings:
        """Make the settings for a store: overrides, then the environment, then defaults.

        Each setting has a variable: `AUTOSTATE_` and its name in capitals. Other variables with
        this prefix cause one warning.

        Args:
            store: A store or its URL; only the scheme counts.
            overrides: Attributes of this class. Setting `debounce` alone raises `max_delay` with
                it when that would be shorter.

        Returns:
            The settings.

        Raises:
            TypeError: There is no setting of that name; the message names the nearest one.
            ValueError: A value makes no sense; the message says which would.

        Example:
            >>> Settings.for_store("memory:", debounce=5).max_delay
            5
        """
        _check_names(overrides)
        _warn_of_unknown(os.environ)
        url = store if isinstance(store, str) else store.url
        base = cls(**_defaults(url))
        made = _filled(_filled(base, _from_environment(base, os.environ)), overrides)
        if made.key is None:
            # From now on nothing depends on the environment: a program may take the key out of it.
            object.__setattr__(made, "key", made.keys)
        return made

    def changed(self, **overrides: Unpack[SettingsByName]) -> Settings:
        """Return a copy with some settings replaced, checked as by `for_store`.

        Args:
            overrides: Attributes of this class.

        Returns:
            New settings; these stay as they are.

        Raises:
            TypeError: There is no setting of that name.
            ValueError: A value makes no sense.
        """
        _check_names(overrides)
        return _filled(self, overrides)


_SECONDS = (
    "debounce",
    "max_delay",
    "flush_timeout",
    "check_interval",
    "migrating_debounce",
    "wait_for_owner",
    "lease",
)
_AGE = r"([0-9]+(?:\.[0-9]+)?) ?([smhdw])"
_TAKEN_KEY = r"INPUT$|autostate-|SDK_|APIFY_|CRAWLEE_|__|AI-SELECTORS$|rendering-type-predictor"
"""What keys of others begin with. A key that is written by two is lost to one of them."""
_APIFY_KEY = r"[a-zA-Z0-9!\-_.'()]{1,256}"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MOST_COMMITS = 10**12
_YES_OR_NO = ((True, False), "True or False")
_CHOICES: Mapping[str, tuple[tuple[object, ...], str]] = {
    "on_corrupt": (get_args(OnCorrupt), '"raise" or "previous"'),
    "on_unknown": (get_args(OnUnknown), '"raise" or "keep"'),
    "on_fenced": (get_args(OnFenced), '"raise" or "exit"'),
    "reboot_on_migrating": _YES_OR_NO,
    "in_step": _YES_OR_NO,
    "status_message": _YES_OR_NO,
    "takeover": _YES_OR_NO,
    "readonly": _YES_OR_NO,
    "encrypt": ((True, False, None), "True, False or None"),
}
_MAY_BE_ZERO = ("debounce", "max_delay", "migrating_debounce", "wait_for_owner")
NAMES = tuple(each.name for each in dataclasses.fields(Settings))
KEY_VARIABLE = "AUTOSTATE_KEY"
SHORTEST_KEY = 16
URL_VARIABLE = "AUTOSTATE_URL"
SHARED_VARIABLE = "AUTOSTATE_SHARED_URL"
VARIABLES: Mapping[str, str] = {
    **{name: f"AUTOSTATE_{name.upper()}" for name in NAMES},
    "shared": SHARED_VARIABLE,
}
"""The environment variable of each setting."""
OF_PROGRAMS = "sqlite:///.autostate/{program}.db"
"""The store of a program that is no Actor, unless another one is configured."""
_OF_TESTS = ("EXAMPLES", "SEED", "STEPS")
"""The variables that the tests of this project read: they set how much is tested."""
_warned_of: set[str] = set()

_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"0": False, "false": False, "no": False, "off": False}

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    # At most twice as often as Actor.use_state, and never without a change: if a container
    # vanishes without notice, half a minute of work is lost, and a day costs 0.15 dollars.
    "apify": {
        "debounce": 10.0,
        "max_delay": 30.0,
        "max_dirty_bytes": 4 * MIB,
        "flush_timeout": 60.0,
        "migrating_debounce": 0.5,
        "lease": 60.0,
    },
    # A write costs 0.000005 dollars: at most 0.04 dollars a day, and 0.02 for an idle owner.
    "s3": {
        "debounce": 2.0,
        "max_delay": 10.0,
        "flush_timeout": 60.0,
        "lease": 60.0,
    },
}


def _defaults(url: str) -> Mapping[str, Any]:
    """Give the defaults; off the platform Apify's store is a folder, and a write costs nothing."""
    if scheme(url) == "apify" and not _at_home(os.environ):
        return {}
    return _DEFAULTS.get(scheme(url), {})


def _from_environment(base: Settings, environ: Mapping[str, str]) -> dict[str, Any]:
    """Read what the environment sets; blank counts as unset.

    Raises:
        ValueError: A value makes no sense; the message names the variable.
    """
    found: dict[str, Any] = {}
    for name, variable in VARIABLES.items():
        text = environ.get(variable, "").strip()
        if not text or variable == KEY_VARIABLE:  # that may hold several keys: see `keys`
            continue
        try:
            like = False if name == "encrypt" else getattr(base, name)
            like = 0 if name == "history" and text.isdecimal() else like  # or an age
            like = 0.0 if name == "shared_refresh" else like
            found[name] = _parsed(text, like)
            _filled(base, {name: found[name]})
        except ValueError as error:
            problem = f"the environment variable {variable}: {error}"
            raise exit_status.expect(ValueError(problem)) from None
    try:
        _filled(base, found)
    except ValueError as error:
        variables = " and ".join(VARIABLES[name] for name in found)
        problem = f"the environment variables {variables}: {error}"
        raise exit_status.expect(ValueError(problem)) from None
    return found


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    """Warn once in each process of variables that set nothing, and name the nearest ones."""
    known = (URL_VARIABLE, *VARIABLES.values())
    ours = {*known, *(f"AUTOSTATE_{name}" for name in _OF_TESTS)}
    for name in sorted(environ):
        if not name.upper().startswith("AUTOSTATE_") or name in ours or name in _warned_of:
            continue
        import difflib
        import logging

        _warned_of.add(name)
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.75)
        meant = f": did you mean {near[0]}? There" if near else ": there"
        logging.getLogger("autostate").warning(
            "the environment variable %s sets nothing%s are %s", name, meant, ", ".join(known)
        )


def _parsed(text: str, like: Any) -> Any:
    """Read a value of the default's type; a text that cannot be read stays a text."""
    if isinstance(like, bool):
        return _WORDS.get(text.lower(), text)
    if isinstance(like, int | float):
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
    return text


def scheme(url: str) -> str:
    """Return the part of a store's URL before the first colon."""
    return url.partition(":")[0].lower()


def default_url(environ: Mapping[str, str] | None = None) -> str:
    """Return the URL of the store that is used when none is configured.

    Args:
        environ: The environment variables; those of the process by default.

    Returns:
        While pytest runs, the choice of its plugin. Else `AUTOSTATE_URL` if it is set, where
        `{program}` stands for the name of the program; inside an Actor the run's default key-value
        store; else a SQLite file under the working directory with the name of the program, so that
        two programs in one folder do not share a state.
    """
    here = environ is None
    environ = os.environ if environ is None else environ
    url = environ.get(URL_VARIABLE, "").strip()
    if here and (in_tests := under_test.default_url(url)):
        return in_tests
    if url:
        return program.named(url)
    return "apify:" if _inside_actor(environ) else program.named(OF_PROGRAMS, here=True)


def _inside_actor(environ: Mapping[str, str]) -> bool:
    """Tell whether this is an Actor, on the platform or on a developer's machine."""
    from pathlib import Path  # here: importing it is a tenth of `import autostate`

    return _at_home(environ) or "apify" in sys.modules or Path(".actor").is_dir()


def _at_home(environ: Mapping[str, str]) -> bool:
    """Tell whether this is a container of the Apify platform."""
    return environ.get("APIFY_IS_AT_HOME", "").lower() not in ("", "0", "false")


def _filled(base: Settings, overrides: Mapping[str, Any]) -> Settings:
    """Replace, and let `max_delay` follow a longer `debounce` (or the other way round)."""
    if not overrides:
        return base
    values = dict(overrides)
    try:
        if "debounce" in values and "max_delay" not in values:
            values["max_delay"] = max(base.max_delay, values["debounce"])
        elif "max_delay" in values and "debounce" not in values:
            values["debounce"] = min(base.debounce, values["max_delay"])
    except TypeError:  # not a number: the check of each value gives a better message
        pass
    return dataclasses.replace(base, **values)


def _check_names(overrides: Mapping[str, Any]) -> None:
    """Refuse a setting that does not exist, with the nearest names that do."""
    for name in overrides:
        if name not in NAMES:
            import difflib

            near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
            told = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
            raise TypeError(f"there is no setting {name!r}; {told}")


def _check_number(name: str, value: Any, *, zero: bool, unit: str) -> None:
    """Refuse a value that is no number above (or at) zero, or too large for clocks."""
    least = "0 or more" if zero else "more than 0"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _refuse(name, value, f"a number of {unit}")
    most = 1e18 if unit == "bytes" else MOST_SECONDS
    if not (0 <= value <= most) or (value == 0 and not zero):
        _refuse(name, value, f"{unit}, {least} and at most {most:.0e}")


def _url_of_shared(value: Any) -> str:
    """Give the URL of the shared state, without credentials."""
    from autostate.stores.urls import normalized

    if not isinstance(value, str | os.PathLike) or value == "":
        _refuse("shared", value, "the URL of a store, such as redis://HOST/0?state=NAME, or a path")
    try:
        url = normalized(value)
    except ValueError as error:
        problem = f"shared: {error}"
        raise ValueError(problem) from None
    if url == "apify:":
        raise ValueError(
            "shared: no other run has the default key-value store of this one, so nothing can be "
            "shared there. Name a store that all of them use: apify:NAME"
        )
    return url


def _keys(value: Any, name: str) -> tuple[bytes, ...]:
    """Give keys as bytes, and refuse other values; no message contains any part of a key."""
    keys = []
    for key in value if isinstance(value, tuple | list) else () if value is None else (value,):
        if not isinstance(key, bytes | str):
            problem = f"{name} must be bytes or a text, not {type(key).__name__}"
            raise ValueError(problem)  # noqa: TRY004 - as for every other setting
        keys.append(key.strip().encode() if isinstance(key, str) else key)
        if len(keys[-1]) < SHORTEST_KEY:
            several = " (blanks separate several)" if name == KEY_VARIABLE else ""
            raise ValueError(
                f"{name} must be at least {SHORTEST_KEY} bytes long{several}, and secret: for "
                'example what `python -c "import secrets; print(secrets.token_urlsafe(32))"` prints'
            )
    return tuple(keys)


def _refuse(name: str, value: Any, wanted: str) -> None:
    """Raise the error that says what would be right."""
    raise ValueError(f"{name} must be {wanted}, not {value!r}")
