"""The errors of the commands."""


class CommandError(Exception):
    """A command cannot do what it was told to; the message says why."""


class UsageError(CommandError):
    """The arguments are wrong."""
