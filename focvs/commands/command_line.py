"""Options of the command line, and what was probably meant where a word is none."""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from focvs.commands.overrides import UsageError

OPTIONS = ("--help", "--version", "--cfg", "--multirun", "--output", "--quiet", "--verbose")
SHORT = {"-h": "--help", "-c": "--cfg", "-m": "--multirun", "-o": "--output", "-q": "--quiet", "-v": "--verbose"}
ALIKE = 0.6  # ratio of difflib from which a word may have been meant


@dataclass(frozen=True)
class Line:
    """A command line: its options, and the words that are none."""

    words: list[str]
    help: bool = False
    version: bool = False
    show: bool = False
    multirun: bool = False
    output: str | None = None
    level: int | None = None


def read_line(arguments: Sequence[str]) -> Line:
    """Tell options from words; files whose names begin with a dash are words.

    Raises:
        UsageError: for an option that is none, saying what was probably meant.
    """
    words: list[str] = []
    found: dict[str, str | bool] = {}
    rest = iter(arguments)
    for word in rest:
        option, equals, value = word.partition("=")
        option = SHORT.get(option, option)
        if not word.startswith("-") or word == "-" or os.path.exists(word):
            words.append(word)
        elif option == "--output":
            found[option] = value if equals else next(rest, "")
            if not found[option]:
                raise UsageError(f"{word} needs a folder: -o results/")
        elif option == "--cfg":
            if (value if equals else next(rest, "job")) != "job":
                raise UsageError("--cfg takes job.")
            found[option] = True
        elif option in OPTIONS and not equals:
            found[option] = True
        else:
            raise UsageError(_no_option(word))
    if words[:1] == ["help"] and not os.path.exists("help"):
        words, found["--help"] = words[1:], True
    if found.get("--quiet") and found.get("--verbose"):
        raise UsageError("-q and -v contradict each other; give one of them.")
    level = logging.WARNING if found.get("--quiet") else logging.DEBUG if found.get("--verbose") else None
    output = found.get("--output")
    return Line(
        words,
        help=bool(found.get("--help")),
        version=bool(found.get("--version")),
        show=bool(found.get("--cfg")),
        multirun=bool(found.get("--multirun")),
        output=output if isinstance(output, str) else None,
        level=level,
    )


def _no_option(word: str) -> str:
    """What to say of a word that begins with a dash and is no option."""
    from focvs.config import SCHEMAS

    name, equals, value = word.lstrip("-").partition("=")
    keys = {field.name for schema in SCHEMAS.values() for field in fields(schema)}
    key = name.replace("-", "_")
    if key.split(".")[0] in keys and word.startswith("--"):
        return f"{word} is not an option: keys have no dashes, write {key}={value if equals else 'VALUE'}."
    near = difflib.get_close_matches(word, OPTIONS, 1, ALIKE)
    return f"{word} is not an option{f'; did you mean {near[0]}?' if near else '; see focvs --help.'}"


def require_command_or_path(word: str, commands: Sequence[str]) -> None:
    """Refuse a first word that is neither a path nor ``key=value`` and looks like a command that was mistyped.

    Raises:
        UsageError: naming the command.
    """
    if "=" in word or not re.fullmatch(r"[A-Za-z]+", word) or os.path.exists(word):
        return
    near = difflib.get_close_matches(word, commands, 1, ALIKE)
    if near:
        raise UsageError(f"{word} is neither a file nor a command; did you mean focvs {near[0]}?")


def require_key_words(words: Sequence[str], name: str) -> None:
    """Refuse keys and values that an equals sign alone does not join.

    Args:
        words: of a command.
        name: of its configuration.

    Raises:
        UsageError: showing how it is written.
    """
    from focvs.config import SCHEMAS

    keys = {field.name for field in fields(SCHEMAS[name])}
    for i, word in enumerate(words):
        before, after = words[i - 1] if i else "", words[i + 1] if i + 1 < len(words) else ""
        if word == "=" or (word.endswith("=") and word[:-1] in keys and after and "=" not in after):
            left, right = (before, after) if word == "=" else (word[:-1], after)
            raise UsageError(f"{left} = {right}: keys are written without blanks, {left}={right or 'VALUE'}.")
        if word.startswith("=") and before in keys:
            raise UsageError(f"{before} {word}: keys are written without blanks, {before}{word}.")
        key, colon, value = word.partition(":")
        if i and key in keys and "=" not in word and not after.startswith("=") and not os.path.exists(word):
            right = value if colon else "" if "=" in after else after
            raise UsageError(f"{word if colon else f'{key} {right}'.strip()}: write {key}={right or 'VALUE'}.")
