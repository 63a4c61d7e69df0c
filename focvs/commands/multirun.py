"""Hydra's multi-run: every combination of the values that overrides with commas stand for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from focvs.commands.overrides import UsageError, compose, require_keys, to_schema

if TYPE_CHECKING:
    from omegaconf import DictConfig

Check = Callable[["DictConfig"], None]


def first_of_sweep(
    name: str, overrides: list[str], required: tuple[str, str], check: Check = to_schema
) -> tuple[DictConfig, list[str]]:
    """The first of the configurations that ``overrides`` with commas stand for, and the keys that have one value.

    Args:
        name: of the configuration.
        overrides: with commas where there are several values.
        required: keys that must be given.
        check: refuses a configuration; every value is tried beside the first ones of the other keys.

    Raises:
        UsageError: if any of the values is not accepted, or a required key is missing; and what ``check`` raises.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise UsageError(f"the options {' '.join(overrides)} could not be understood: {error}") from error
    single = [o for o in parsed if not o.is_sweep_override()]
    fixed = [str(o.input_line) for o in single if not str(o.input_line).startswith(("hydra.", "hydra/"))]
    choices = [
        [f"{o.get_key_element()}={v}" for v in o.sweep_string_iterator()] for o in parsed if o.is_sweep_override()
    ]
    first = [values[0] for values in choices]
    config = compose(name, [*fixed, *first])
    require_keys(config, required)
    check(config)
    for i, values in enumerate(choices):
        for value in values[1:]:
            check(compose(name, [*fixed, *first[:i], value, *first[i + 1 :]]))
    return config, [o.get_key_element().lstrip("+") for o in single]


def run_sweep(
    name: str,
    overrides: list[str],
    required: tuple[str, str],
    run: Callable[[Any], None],
    first: tuple[DictConfig, list[str]],
) -> bool:
    """Hydra multi-run of conf/``name``.yaml.

    Args:
        name: of the configuration.
        overrides: with commas where there are several values.
        required: keys that must be given, the output folder last.
        run: a job; its settings' ``output_dir`` is its own folder.
        first: what :func:`first_of_sweep` gave, which has checked every value.

    Returns:
        Whether no job raised.

    Raises:
        UsageError: without an output folder.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    from focvs.config import conf_dir

    config, single = first
    if config[required[-1]] is None:
        raise UsageError("-m needs OUTPUT_DIR, the folder that gets one folder a job.")

    def job(config: DictConfig) -> None:
        settings = to_schema(config)
        settings.output_dir = HydraConfig.get().runtime.output_dir
        run(settings)

    unnamed = [*required, *single, "shard"]  # the parts of a folder go into one
    command = ["focvs", "--multirun", *overrides, "hydra/job_logging=none", "hydra/hydra_logging=none"]
    command.append(f"hydra.job.config.override_dirname.exclude_keys=[{','.join(unnamed)}]")
    previous, sys.argv = sys.argv, command
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(job)()
    except SystemExit as stop:
        return not stop.code
    finally:
        sys.argv = previous
    return True
