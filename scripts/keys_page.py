"""Write docs/keys.md, every key of every command, from the comments of conf/.

python scripts/keys_page.py
"""

from __future__ import annotations

from pathlib import Path

from focvs.cli import all_commands
from focvs.commands.command_help import NEEDED, groups_of, keys_of, title_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "keys.md"
HEADER = """\
# Every key

What `focvs COMMAND --help` says, from the comments of [conf/](../conf); made by `python scripts/keys_page.py`. The most
useful ones, with examples, are in [options](options.md). Keys of a choice are written with a dot
(`sampler.levels=16`).
"""


def write_page() -> None:
    lines = [HEADER]
    for word, command in all_commands().items():
        what, usage = title_of(command.configuration)
        lines += [f"## focvs {word}", "", f"{what}: `{usage}`", "", "| key | default | what |", "|---|---|---|"]
        for key in keys_of(command.configuration):
            default = "needed" if key.default == NEEDED else f"`{key.default}`"
            lines.append(f"| `{key.name}` | {default} | {_cell(key.comment)} |")
        lines.append("")
    lines += ["## Choices", "", "What may follow the name of a group, and the keys that each brings.", ""]
    groups = {group.name: group for command in all_commands().values() for group in groups_of(command.configuration)}
    for group in groups.values():
        lines += [f"### {group.name}=", "", "| choice | what | keys |", "|---|---|---|"]
        for option, comment in group.options.items():
            keys = ", ".join(f"`{key.name}={key.default}`" for key in keys_of(f"{group.name}/{option}"))
            lines.append(f"| `{option}` | {_cell(comment)} | {_cell(keys)} |")
        lines.append("")
    PAGE.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write_page()
