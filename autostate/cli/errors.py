"""The error of the commands."""


class CommandError(Exception):
    """A command cannot do what it was told to; the message says why."""
