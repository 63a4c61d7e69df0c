"""Completion for shells: a script of all commands and keys, made from conf/ and not asking the program anything."""

from __future__ import annotations

from collections.abc import Mapping

from focvs.commands.command_help import completions_of
from focvs.commands.looking_after import UNCONFIGURED
from focvs.errors import FocvsError

SHELLS = ("bash", "zsh", "fish")

ZSH = """\
# focvs completion, zsh:  eval "$(focvs completion zsh)"  in ~/.zshrc
autoload -U +X bashcompinit && bashcompinit
"""

BASH = """\
# focvs completion, bash:  eval "$(focvs completion bash)"  in ~/.bashrc
_focvs() {{
  type compopt >/dev/null 2>&1 || compopt() {{ :; }}
  local cur=${{COMP_WORDS[COMP_CWORD]}} line=${{COMP_LINE:0:COMP_POINT}} word command=restore keys values
  word=${{line##* }}
  [[ $word == *=* ]] || word=$cur
  case " ${{COMP_WORDS[1]}} " in
{commands}
  esac
  if [[ $word == *=* ]]; then
    case "$command:${{word%%=*}}" in
{values}
    esac
    if [[ -n $values ]]; then COMPREPLY=($(compgen -W "$values" -- "${{word#*=}}"))
    else compopt -o default 2>/dev/null; COMPREPLY=(); fi
    return
  fi
  case $command in
{keys}
  esac
  COMPREPLY=($(compgen -W "$keys" -- "$cur"))
  if [[ $COMP_CWORD == 1 ]]; then COMPREPLY+=($(compgen -W "{names} --help --version" -- "$cur")); fi
  if [[ ${{#COMPREPLY[@]}} == 1 && ${{COMPREPLY[0]}} == *= ]]; then compopt -o nospace; fi
  if [[ ${{#COMPREPLY[@]}} == 0 ]]; then compopt -o default; fi
}}
complete -F _focvs focvs
"""


def completion_script(shell: str, configurations: Mapping[str, str]) -> str:
    """The script that a shell reads.

    Args:
        shell: one of :data:`SHELLS`.
        configurations: of each command.

    Raises:
        FocvsError: for another shell.
    """
    if shell not in SHELLS:
        raise FocvsError(f"completion for {shell or 'no shell'} is not there; choose one of {', '.join(SHELLS)}.")
    if shell == "fish":
        return _fish(configurations)
    commands = "\n".join(f'    " {command} ") command={command} ;;' for command in configurations)
    keys, values = [], []
    for command, name in configurations.items():
        words = completions_of(name)
        keys.append(f'    {command}) keys="{" ".join(f"{key}=" for key in words)}" ;;')
        values += [f'      {command}:{key}) values="{" ".join(found)}" ;;' for key, found in words.items() if found]
    script = BASH.format(
        commands=commands,
        values="\n".join(values),
        keys="\n".join(keys),
        names=" ".join((*configurations, *UNCONFIGURED, "completion")),
    )
    if shell == "zsh":
        return ZSH + script
    return script


def _fish(configurations: Mapping[str, str]) -> str:
    lines = ["# focvs completion, fish:  focvs completion fish > ~/.config/fish/completions/focvs.fish"]
    lines += [f"complete -c focvs -n '__fish_is_first_arg' -a {command}" for command in configurations]
    others = " ".join(command for command in configurations if command != "restore")
    for command, name in configurations.items():
        seen = (
            f"not __fish_seen_subcommand_from {others}"
            if command == "restore"
            else f"__fish_seen_subcommand_from {command}"
        )
        for key, found in completions_of(name).items():
            words = " ".join(f"{key}={word}" for word in found) or f"{key}="
            lines.append(f"complete -c focvs -n '{seen}' -a '{words}'")
    return "\n".join(lines) + "\n"
