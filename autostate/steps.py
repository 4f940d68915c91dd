"""The next steps that messages name: to a program its functions, to the user of a command commands.

The code that raises an error does not know who will read it, so it asks here; and at the time when
the error is made, since a constant is made before anybody knows.
"""

from __future__ import annotations

_in_a_shell = False


def name_commands() -> None:
    """Name commands from now on: this process runs one."""
    global _in_a_shell
    _in_a_shell = True


def delete(name: str | None = None) -> str:
    """Say how to delete a state object.

    Args:
        name: Its name; None: the reader knows which one it is.

    Example:
        >>> delete(), delete("pages")
        ('call autostate.delete(name)', "call autostate.delete('pages')")
    """
    if not _in_a_shell:
        return f"call autostate.delete({'name' if name is None else repr(name)})"
    import shlex

    return f"run `autostate delete {'NAME' if name is None else shlex.quote(name)}`"


def to_write() -> str:
    """Say how to open a state that was opened to be read only.

    Example:
        >>> to_write()
        'Open it without readonly=True, and without AUTOSTATE_READONLY,'
    """
    if _in_a_shell:
        return "Unset AUTOSTATE_READONLY"
    return "Open it without readonly=True, and without AUTOSTATE_READONLY,"


def setting(name: str, value: str | None = None) -> str:
    """Name a setting: as an argument, or as the variable of the environment that commands read.

    Args:
        name: The setting.
        value: A text that it is to be; None: the reader knows its value.

    Example:
        >>> setting("on_corrupt", "previous"), setting("key")
        ('on_corrupt="previous"', 'AUTOSTATE_KEY, or configure(key=…),')
    """
    variable = f"AUTOSTATE_{name.upper()}"
    if _in_a_shell:
        return variable if value is None else f"{variable}={value}"
    return f"{variable}, or configure({name}=…)," if value is None else f'{name}="{value}"'
