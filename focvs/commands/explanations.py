"""What to say of words that make no configuration: what was given, and what is accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig


def unknown_key(config: DictConfig, schema: Any, prefix: str = "") -> str:
    """A sentence about the first key that a plus sign added to a configuration and that nothing reads, or nothing.

    Args:
        config: composed.
        schema: its dataclass.
        prefix: of the keys of a group.
    """
    from omegaconf import DictConfig, OmegaConf

    known = [field.name for field in fields(schema)]
    for key in map(str, config):
        if key not in known and key != "hydra":
            return _no_key(f"{prefix}{key}", known)
        if OmegaConf.is_missing(config, key) or not isinstance(config[key], DictConfig):
            continue
        if is_dataclass(kind := OmegaConf.get_type(config, key)) and (
            found := unknown_key(config[key], kind, f"{prefix}{key}.")
        ):
            return found
    return ""


def _no_key(key: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(key.rpartition(".")[2], names, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{key} is not a key; {meant}accepted are {', '.join(names)}."


def explain(error: Exception, name: str, overrides: Sequence[str]) -> str:
    """One sentence for a composition error: what was given and what is accepted."""
    from focvs.config import SCHEMAS

    text = "\n".join(str(e) for e in (error, error.__cause__, error.__context__) if e)
    if found := re.search(r"Could not override '([^']+)'|Key '([^']+)' (?:is )?not in", text):
        schema: Any = SCHEMAS[name]
        given = next((o for o in overrides if (found[1] or found[2]) in o.partition("=")[0]), "")
        group = given.partition(".")[0]
        if "." in given.partition("=")[0]:
            schema = next((f.default_factory for f in fields(schema) if f.name == group), schema)
            schema = schema if is_dataclass(schema) else SCHEMAS[name]
        return _no_key(found[1] or found[2], [f.name for f in fields(schema)])
    if found := re.search(r"An item is already at '([^']+)'", text):
        return f"{found[1]} is a key already; write it without the plus sign."
    if found := re.search(r"Could not (?:find|load) '(\w+)/([^']+)'", text):
        from focvs.config import conf_dir

        options = ", ".join(sorted(p.stem for p in (conf_dir() / found[1]).glob("*.yaml")))
        return f"{found[1]}={found[2]} is not known; choose one of {options}."
    if found := re.search(r"Value '(.*?)'(?: of type '\w+')? could not be converted to (\w+)", text):
        key = re.search(r"full_key: (\S+)", text)
        needed = {"Float": "a number", "Integer": "a whole number", "Boolean": "true or false"}.get(found[2], found[2])
        return f"{key[1] if key else 'a key'}={found[1]} is not accepted; give {needed}."
    if found := re.search(r"Value '(.*?)' is not a valid bool", text):
        key = re.search(r"full_key: (\S+)", text)
        return f"{key[1] if key else 'a key'}={found[1]} is not accepted; give true or false."
    if found := re.search(r"Invalid value '(.*?)', expected one of \[(.*?)\]", text):
        key = re.search(r"full_key: (\S+)", text)
        return f"{key[1] if key else 'a key'}={found[1]} is not known; choose one of {found[2]}."
    if found := re.search(r"Ambiguous value for argument '([^=]+)=([^']*)'", text):
        point = found[2].replace(",", ".", 1)
        decimal = f"write {found[1]}={point} for a decimal number, or " if re.fullmatch(r"\d+,\d+", found[2]) else ""
        return f"{found[1]}={found[2]} has several values; {decimal}add -m to run one job for each."
    first = str(error).strip().splitlines()[0]
    if found := re.search(r"Error merging override (\w+)=(\S+)", first):
        if found[1] in ("stacks", "estimates", "exclude"):
            return f"{found[1]}={found[2]} is not accepted; a list is written {found[1]}=[{found[2]}]."
        return f"{found[1]}={found[2]} is not accepted; leave {found[1]} out or give it a value."
    return f"the options {' '.join(overrides)} could not be understood: {first}"
