"""Words of a command line to overrides, overrides to a configuration, and what was wrong with them in one sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from focvs.commands.explanations import explain, unknown_key
from focvs.errors import FocvsError

if TYPE_CHECKING:
    from omegaconf import DictConfig


# keys of paths and commands, whose values are taken as they were typed, spaces, commas and brackets included
TEXTS = {
    *("series", "scan", "output_dir", "output", "volume", "truth", "data", "path", "prior.path", "profile.path"),
    *("adaptation.cache", "lesions", "brain", "segment_command", "vgg", "lpips"),
}
IMAGES = (".nii", ".nii.gz", ".mgz", ".mgh", ".nrrd", ".mha", ".mhd", ".img")  # endings of further stacks
PLAIN = re.compile(r"[\w./+-]*/[\w./+-]*")  # a path that needs no quotes: folders of sweeps are named after it


class UsageError(FocvsError):
    """A command line that cannot be understood."""


def to_overrides(
    words: Sequence[str], positional: Sequence[str], name: str = "config", *, swept: bool = False
) -> list[str]:
    """Hydra overrides from command-line words: ``key=value`` as it is, other words as quoted positionals.

    A word is ``key=value`` where it looks like one, unless a file of that name exists, or its key is none of
    conf/``name``.yaml and it could be a path. A last positional with a star takes all the words that are left.
    Values that are paths or commands are quoted, where ``swept`` each of those between commas.

    Raises:
        UsageError: for more words than positionals, and shapes of profiles swept together with files of profiles.
    """
    overrides: list[str] = []
    if name == "config":
        words, stacks = further_stacks(words)
        if stacks and any(word.startswith("stacks=") for word in words):
            raise UsageError(f"stacks= and {stacks[0]} are both given; name further stacks in one place.")
        overrides += [f"stacks=[{','.join(map(quote, stacks))}]"] if stacks else []
    named = {word.partition("=")[0] for word in words if _is_override(word, name)}
    single = [key for key in positional if not key.endswith("*") and key not in named]
    given = 0
    rest: list[str] = []
    for word in words:
        if _is_override(word, name):
            overrides += _written_out(word, swept)
        elif given < len(single):
            overrides.append(f"{single[given]}={quote(word)}")
            given += 1
        elif not positional[-1].endswith("*"):
            raise UsageError(f"{word} is one argument too many; paths first, then key=value (see focvs --help).")
        else:
            rest.append(quote(word))
    if rest:
        overrides.append(f"{positional[-1].rstrip('*')}=[{','.join(rest)}]")
    return overrides


def further_stacks(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words without the image files named after the first path, and those files: further stacks."""
    kept: list[str] = []
    stacks: list[str] = []
    scan = any(word.startswith("scan=") for word in words)
    for word in words:
        path = not _is_override(word, "config")
        (stacks if path and scan and word.lower().endswith(IMAGES) else kept).append(word)
        scan |= path
    return kept, stacks


def _is_override(word: str, name: str) -> bool:
    from focvs.config import SCHEMAS

    found = re.match(r"^[~+]*([A-Za-z_][\w./@]*)=", word)
    if not found or os.path.isfile(word):
        return False
    key = found[1]
    if re.split(r"[./@]", key)[0] in {"hydra", *(f.name for f in fields(SCHEMAS[name]))}:
        return True
    return "/" not in key and not os.path.exists(word)


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments before and after the first ``--``: a script's own options, and overrides of a configuration."""
    arguments = list(arguments)
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:cut], arguments[cut + 1 :]


def quote(text: str) -> str:
    """A string as one value of Hydra's grammar, whatever it contains."""
    escaped = re.sub(r"(\\*)'", lambda m: m.group(1) * 2 + r"\'", text)
    escaped = escaped.replace("${", r"\${")
    escaped = re.sub(r"(\\+)$", lambda m: m.group(1) * 2, escaped)
    return f"'{escaped}'"


def _written_out(word: str, swept: bool) -> list[str]:
    """Overrides of a word: ``profile=FILE.npy`` and ``path=`` of the prior as what they stand for, texts quoted."""
    key, _, value = word.partition("=")
    sampled = [part.endswith(".npy") for part in _parts(value, swept)]
    if key == "profile" and any(sampled):
        if not all(sampled):
            raise UsageError(f"{word} sweeps shapes and files together; give one kind at a time.")
        return ["profile=sampled", f"profile.path={_as_text(value, swept)}"]
    if key not in TEXTS:
        return [word]
    return [f"{'prior.path' if key == 'path' else key}={_as_text(value, swept)}"]


def _as_text(value: str, swept: bool) -> str:
    """A typed value, or where ``swept`` those between its commas, as text; unless it is Hydra's grammar already."""
    quoted = r"(?:'(?:[^'\\]|\\.)*'" + r'|"(?:[^"\\]|\\.)*")'
    if re.fullmatch(f"{quoted}(?:,{quoted})*", value) or (swept and re.fullmatch(r"(?:choice|glob)\(.*\)", value)):
        return value
    texts = [os.path.expanduser(part) for part in _parts(value, swept)]
    return ",".join(
        text if text in ("", "null") or (swept and PLAIN.fullmatch(text)) else quote(text) for text in texts
    )


def _parts(value: str, swept: bool) -> list[str]:
    return value.split(",") if swept and not os.path.exists(value) else [value]


def compose(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose conf/``name``.yaml with ``overrides``.

    Raises:
        UsageError: for an unknown key, a value of the wrong type or an unknown option.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from focvs.config import FLAG_OR_WORD, LISTS, NUMBER_OR_WORD, SCHEMAS, conf_dir, register_schemas

    register_schemas()
    outer = GlobalHydra.get_state()  # of the job this is called from, if any
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = hydra_compose(name, list(overrides))
        if name in SCHEMAS and (unknown := unknown_key(config, SCHEMAS[name])):
            raise UsageError(unknown)
        for key, word in NUMBER_OR_WORD.items():
            value = config.get(key)
            each = (
                list(value) if key in LISTS and not isinstance(value, str) and isinstance(value, Sequence) else [value]
            )
            if not each or not all(v is None or v == word or _is_number(v) for v in each):
                raise UsageError(f"{key}={value} is not accepted; give a number or {word}.")
        for key, word in FLAG_OR_WORD.items():
            value = config.get(key, word)
            if not (value == word or isinstance(value, bool)):
                raise UsageError(f"{key}={value} is not accepted; give true, false or {word}.")
    except UsageError:
        raise
    except Exception as error:  # Hydra, OmegaConf and the parser raise a dozen kinds for words that make no sense
        raise UsageError(explain(error, name, overrides)) from error
    finally:
        GlobalHydra.set_state(outer)
    return config


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_schema(config: DictConfig) -> Any:
    """The typed dataclass of a composed configuration.

    Raises:
        UsageError: if a value refers to something that does not exist.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UsageError(f"the options could not be understood: {str(error).splitlines()[0]}") from error


def require_keys(config: DictConfig, keys: Sequence[str]) -> None:
    """Refuse a configuration in which one of ``keys`` was not given.

    Raises:
        UsageError: naming the first.
    """
    from omegaconf import OmegaConf

    for key in keys:
        if OmegaConf.is_missing(config, key):
            raise UsageError(f"{key} is missing; see focvs --help.")


def told_to_runs(overrides: Sequence[str]) -> list[str]:
    """Overrides of conf/sweep.yaml; keys that only conf/config.yaml has go to ``run``, where they can be swept too."""
    from focvs.config import GROUPS, SweepConfig
    from focvs.run_config import RunConfig

    own, others = ({f.name for f in fields(schema)} for schema in (SweepConfig, RunConfig))
    out = []
    for override in overrides:
        base = re.split(r"[.@=/]", override.lstrip("~+"))[0]
        if base in ("scan", "spacing", "stacks"):
            raise UsageError(f"{base}= is decided by the sweep; give volume=, thickness= and gap=.")
        if base == "noise":
            raise UsageError(
                "noise= is no key of a sweep: scan_noise= is the noise of the scans, +run.noise= what their "
                "restoration is told it is, in units of the volume."
            )
        if base not in others - own:
            out.append(override)
            continue
        key, _, value = override.partition("=")
        # a choice of a group and its numbers are told apart
        out.append(f"+run.{key}.choice={value}" if key in GROUPS else f"+run.{override}")
    return out


def run_overrides(run: dict[str, Any], prefix: str = "") -> list[str]:
    """``run`` as words for conf/config.yaml; nested keys with dots."""
    words = [f"{prefix.rstrip('.')}={run['choice']}"] if "choice" in run else []
    for key, value in run.items():
        if key == "choice":
            continue
        if isinstance(value, dict):
            words += run_overrides(value, f"{prefix}{key}.")
        else:
            plain = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
            words.append(f"{prefix}{key}={quote(plain) if isinstance(value, str) else plain}")
    return words
