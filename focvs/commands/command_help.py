"""Help of each command, from the comments of its configuration: one source for what a key means."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from focvs.config import conf_dir

WIDTH, INDENT = 100, 26
HIDDEN = ("hydra", "defaults")  # keys of configurations that are no user's business
NEEDED = "???"


@dataclass(frozen=True)
class Key:
    """A key of a configuration: its name with dots, its default as it is written, and its comment."""

    name: str
    default: str
    comment: str


@dataclass(frozen=True)
class Group:
    """A choice between files: its name, the one that is taken, and the first comment of each."""

    name: str
    default: str
    options: dict[str, str]


def title_of(name: str) -> tuple[str, str]:
    """First comment of conf/``name``.yaml: what the command does, and how it is called."""
    first = _leading_comment((conf_dir() / f"{name}.yaml").read_text())
    what, _, usage = first.partition(": focvs ")
    return what, re.split(r"; | \(", f"focvs {usage}")[0].rstrip(".")


def keys_of(name: str) -> list[Key]:
    """The keys of conf/``name``.yaml in order, those of nested tables with dots."""
    found: list[Key] = []
    comment: list[str] = []
    above: list[tuple[int, str]] = []
    for line in (conf_dir() / f"{name}.yaml").read_text().splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
            continue
        pair = re.match(r"^(\s*)([A-Za-z_]\w*):\s*(.*)$", line)
        if pair:
            depth, key, value = len(pair[1]), pair[2], pair[3]
            above = [(d, k) for d, k in above if d < depth]
            full = ".".join([*(k for _, k in above), key])
            if full.split(".")[0] not in HIDDEN and value:
                found.append(Key(full, value, " ".join(comment)))
            above.append((depth, key))
        comment = []
    return found


def groups_of(name: str) -> list[Group]:
    """The groups that conf/``name``.yaml chooses from, in order."""
    text = (conf_dir() / f"{name}.yaml").read_text()
    found = []
    for key, default in re.findall(r"^\s+- (\w+): (\w+)\s*$", text, flags=re.M):
        folder = conf_dir() / key
        if folder.is_dir():
            files = sorted(folder.glob("*.yaml"))
            found.append(Group(key, default, {f.stem: _leading_comment(f.read_text()) for f in files}))
    return found


def help_of(name: str, command: str) -> str:
    """The help of a command.

    Args:
        name: of its configuration.
        command: as it is typed.
    """
    what, usage = title_of(name)
    lines = [f"focvs {command}: {what[0].lower()}{what[1:]}", "", f"  {usage}", "", "keys, with their defaults:"]
    for key in keys_of(name):
        needed = key.default == NEEDED
        comment = f"{key.comment.rstrip('.')}. Needed." if needed else key.comment
        lines += _entry(f"{key.name}={'' if needed else key.default}", comment)
    groups = groups_of(name)
    if groups:
        lines += ["", "choices, and keys of their own (focvs --cfg job shows them):"]
        for group in groups:
            lines += _entry(f"{group.name}={group.default}", ", ".join(group.options))
            for option, comment in group.options.items():
                lines += _entry(f"  {option}", comment)
    return "\n".join(lines) + "\n"


def _entry(head: str, text: str) -> list[str]:
    """Lines of a key or an option, its text beside or below it."""
    wrapped = textwrap.wrap(text, WIDTH - INDENT) or [""]
    label = f"  {head}"
    if len(label) < INDENT:
        first, rest = f"{label:<{INDENT}}{wrapped[0]}".rstrip(), wrapped[1:]
        return [first, *(" " * INDENT + line for line in rest)]
    return [label, *(" " * INDENT + line for line in wrapped if line)]


def _leading_comment(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def completions_of(name: str) -> dict[str, list[str]]:
    """What may follow each key of a configuration, for completion: options of groups, true and false, else nothing."""
    words: dict[str, list[str]] = {}
    for key in keys_of(name):
        words[key.name] = ["true", "false"] if key.default in ("true", "false") else []
    for group in groups_of(name):
        words[group.name] = list(group.options)
    return words
