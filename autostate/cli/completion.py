"""The command `completion`: what shells complete, by asking `autostate` itself.

The script of a shell calls `autostate _complete WORD…` with the words before the cursor, the last
one perhaps begun. Each line that this prints is a word, and a description after a tab. The word
`:files` asks the shell for the names of files.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from autostate.cli import console
from autostate.cli.choosing import choose, stores_here
from autostate.cli.errors import CommandError
from autostate.cli.parser import COMMANDS, Argument, Command
from autostate.errors import AutostateError

FILES: Final = ":files"
"""What stands for the names of files."""
_LARGE: Final = 16 << 20
"""Bytes of a store that is not read for the names of its state objects."""

_BASH: Final = r"""_autostate() {
    local line word found words typed="${COMP_LINE:0:COMP_POINT}" IFS=$' \t\n'
    local begun="${typed##*[[:space:]]}"
    read -ra words <<< "$typed"
    [ -n "$begun" ] || words+=("")
    COMPREPLY=()
    while IFS= read -r line; do
        word="${line%%$'\t'*}"
        if [ "$word" = ":files" ]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r found; do COMPREPLY+=("$found"); done < <(compgen -f -- "$begun")
        else
            word="$(printf '%q' "$word")"
            # Of a word with a colon or "=" bash replaces what is behind that.
            case "$begun" in *[:=]*) word="${word#"${begun%[:=]*}"?}" ;; esac
            COMPREPLY+=("$word")
        fi
    done < <(autostate _complete "${words[@]:1}" 2>/dev/null)
}
complete -F _autostate autostate
"""
_ZSH: Final = r"""#compdef autostate
_autostate() {
    local line word
    local -a found
    while IFS= read -r line; do
        word="${line%%$'\t'*}"
        if [[ "$word" == ":files" ]]; then
            _files
        else
            word="${word//:/\\:}"
            [[ "$line" == *$'\t'* ]] && word="$word:${line#*$'\t'}"
            found+=("$word")
        fi
    done < <(autostate _complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#found )) && _describe 'autostate' found
}
if [[ "$funcstack[1]" = _autostate ]]; then
    _autostate "$@"
else
    compdef _autostate autostate
fi
"""
_FISH: Final = r"""function __autostate_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (autostate _complete $words[2..] 2>/dev/null)
        if test (string split \t -- $line)[1] = ":files"
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c autostate -f -a '(__autostate_complete)'
"""
SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""What a shell reads, by its name."""


def completion(*, shell: str) -> None:
    """Print the script of a shell."""
    sys.stdout.write(SCRIPTS[shell])


def complete(words: Sequence[str]) -> None:
    """Print what may stand in the place of the last word."""
    *before, begun = words or [""]
    for word, about in candidates(before, begun):
        if word == FILES or word.startswith(begun):
            console.write(f"{word}\t{about}" if about else word)


def candidates(before: Sequence[str], begun: str = "") -> Iterator[tuple[str, str]]:
    """Give the words that may follow others, with descriptions.

    Args:
        before: The words before.
        begun: The beginning of the word. Options are offered if it is that of one, or if nothing
            else may follow.
    """
    if not before:
        yield from ((each.name, each.help) for each in COMMANDS.values())
        yield from (("--help", "list the commands"), ("--version", "tell the version"))
        return
    command = COMMANDS.get(before[0])
    if command is None:
        return
    given = _given(command, before[1:])
    if given.awaited is not None:
        yield from _values(given.awaited, given)
        return
    if given.place is not None:
        for word, about in _values(given.place, given):
            if given.is_behind or not word.startswith("-"):  # else it would be an option
                yield word, about
    if given.is_behind or (given.place is not None and not begun.startswith("-")):
        return
    for each in command.arguments:
        if each.flags[0].startswith("-") and each not in given.options:
            yield each.flags[-1], each.options.get("help", "")
    yield "--help", "tell about the command"


class _Given:
    """What the words before the cursor say.

    Attributes:
        options: The options that are given.
        values: The values of the options that take one, by flag.
        awaited: The option whose value is awaited; None: none is.
        place: The argument that comes next by its place; None: there is none.
        is_behind: Whether `--` is among them, behind which no option is one.
    """

    def __init__(self) -> None:
        self.options: list[Argument] = []
        self.values: dict[str, str] = {}
        self.awaited: Argument | None = None
        self.place: Argument | None = None
        self.is_behind: bool = False


def _given(command: Command, words: Sequence[str]) -> _Given:
    flags = {flag: each for each in command.arguments for flag in each.flags}
    places = [each for each in command.arguments if not each.flags[0].startswith("-")]
    made, at = _Given(), 0
    left = iter(words)
    for word in left:
        if made.is_behind or word == "--":
            at += made.is_behind
            made.is_behind = True
            continue
        name, equals, value = word.partition("=")
        known = flags.get(name) if name.startswith("-") else None
        if known is None:
            at += not word.startswith("-")
            continue
        made.options.append(known)
        if known.options.get("action") == "store_true":
            continue
        found = value if equals else next(left, None)
        if found is None:
            made.awaited = known
        else:
            made.values[known.flags[-1]] = found
    many = bool(places) and places[-1].options.get("nargs") == "*"
    if at < len(places) or many:
        made.place = places[min(at, len(places) - 1)]
    return made


def _values(argument: Argument, given: _Given) -> Iterator[tuple[str, str]]:
    """Give the values that an argument can have, as far as they are known."""
    if argument.offers == "objects":
        yield from _objects(given.values.get("--url"), given.values.get("--program"))
    elif argument.offers == "programs":
        yield from ((each.stem, "") for each in stores_here())
    elif argument.offers == "files":
        yield FILES, ""
    choices: Any = argument.options.get("choices", ())
    yield from ((each, "") for each in choices)


def _objects(url: str | None, program: str | None) -> Iterator[tuple[str, str]]:
    """Give the names of state objects and shared objects, with their kinds."""
    with contextlib.suppress(CommandError, AutostateError, ValueError, OSError):
        from autostate.cli import shared
        from autostate.runtime.stored_state import read_state
        from autostate.stores import file_of

        chosen = choose(url, program).url
        path = file_of(chosen)
        if path is None or path.stat().st_size > _LARGE:  # a key press must not wait for it
            return
        state = read_state(chosen)
        for name, at in state.roots.items():
            yield name, state.nodes[at].kind
        for each in shared.found(chosen):
            for name, one in each.objects.items():
                yield name, f"shared {one.kind}"
