"""The commands. Arguments are read here; torch is imported only once there is work to do."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focvs import __version__
from focvs.commands.command_help import HELP, help_of
from focvs.commands.command_line import read_line, require_command_or_path, require_key_words
from focvs.commands.completion import completion_script
from focvs.commands.endings import DONE, FAILED, USAGE, exit_code
from focvs.commands.garbage import leave, uncollected
from focvs.commands.launched import Launch, divided, read_launch, take_over
from focvs.commands.looking_after import UNCONFIGURED, look_after
from focvs.commands.overrides import (
    UsageError,
    compose,
    require_keys,
    to_overrides,
    to_schema,
    told_to_runs,
)
from focvs.errors import FocvsError
from focvs.files import require_there

log = logging.getLogger("focvs")

# configurations that are swept, and what they need, the output folder last
SWEPT = {"config": ("scan", "output_dir"), "sweep": ("volume", "output_dir")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is returned."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("focvs").setLevel(logging.INFO)
    return exit_code(lambda: _dispatch(arguments))


@dataclass(frozen=True)
class Command:
    """A word of the command line: its configuration, its positional arguments, and what runs it."""

    configuration: str
    positional: tuple[str, ...]
    run: Callable[[Any], int | None]


def all_commands() -> dict[str, Command]:
    """The commands that have configurations, by their words."""
    return {
        "restore": Command("config", SWEPT["config"], _run_scan),
        "demo": Command("demo", ("output_dir",), _run_demo),
        "simulate": Command("simulate", ("volume", "output"), _run_simulate),
        "calibrate": Command("calibrate", ("data",), _run_calibrate),
        "profile": Command("estimate", ("scan", "output_dir"), _run_profile),
        "evaluate": Command("evaluate", ("truth", "estimates*"), _run_evaluate),
        "qmri": Command("qmri", ("output_dir",), _run_qmri),
        "sweep": Command("sweep", SWEPT["sweep"], _run_one_job),
    }


def _dispatch(arguments: list[str]) -> int:
    # where each process has its shard, each has its own work
    launch = None if any(word.startswith("shard=") for word in arguments) else read_launch()
    if not take_over(launch):
        return DONE
    commands = all_commands()
    line = read_line(arguments)
    named = line.words[0] if line.words and line.words[0] in commands else ""
    if line.help or not arguments:
        print(help_of(commands[named].configuration, named) if named else HELP, end="")
        return DONE if arguments else USAGE
    if line.version:
        print(f"focvs {__version__}")
        return DONE
    if line.words[:1] == ["completion"] and len(line.words) <= 2:
        configurations = {name: command.configuration for name, command in commands.items()}
        print(completion_script((line.words[1:] or [""])[0], configurations), end="")
        return DONE
    if line.words and line.words[0] in UNCONFIGURED and not os.path.exists(line.words[0]):
        return DONE if look_after(line.words) else FAILED
    if line.level is not None:
        logging.getLogger("focvs").setLevel(line.level)
    command = commands[named or "restore"]
    name, words, multirun = command.configuration, line.words[1 if named else 0 :], line.multirun
    if not named and words:
        require_command_or_path(words[0], (*commands, *UNCONFIGURED, "completion"))
    require_key_words(words, name)
    if line.output is not None:
        key = "output" if name in ("simulate", "calibrate", "evaluate") else "output_dir"
        words = [*words, f"{key}={line.output}"]
    if line.level == logging.WARNING and name == "config":
        words = [*words, "progress=false"]
    overrides = to_overrides(words, command.positional, name, swept=multirun or name == "sweep")
    if name == "sweep":
        overrides, multirun = told_to_runs(overrides), True
    if multirun and name not in SWEPT:
        raise UsageError(f"-m sweeps scans, not focvs {named}.")
    if line.show:
        from omegaconf import OmegaConf

        from focvs.commands.multirun import first_of_sweep

        config = first_of_sweep(name, overrides, SWEPT[name])[0] if multirun else compose(name, overrides)
        print(OmegaConf.to_yaml(config), end="")
        return DONE
    if name == "sweep":
        return _run_study(overrides)
    if multirun:
        from focvs.commands.multirun import first_of_sweep, run_sweep

        first = first_of_sweep(name, overrides, SWEPT[name])
        return DONE if run_sweep(name, overrides, SWEPT[name], _run_one_scan, first) else FAILED
    config = compose(name, overrides)
    require_keys(
        config, [p.rstrip("*") for p in command.positional] if name not in ("config", "estimate") else ["scan"]
    )
    if launch is not None and name == "config":
        return _run_scan(to_schema(config), launch, {word.partition("=")[0] for word in overrides})
    return command.run(to_schema(config)) or DONE


def _run_scan(config: Any, launch: Launch | None = None, given: Collection[str] = ()) -> int:
    require_there(Path(config.scan))  # before seconds go into importing torch
    with uncollected():
        from focvs.pipeline import super_resolve

    if Path(config.scan).is_dir():
        from focvs.commands.cohort import restore_cohort, scans_of

        if found := scans_of(config):
            config = config if launch is None else divided(config, launch, True, given)
            return DONE if restore_cohort(config, found) else FAILED
    config = config if launch is None else divided(config, launch, False, given)
    if config.log == "json":
        from focvs.commands.outcomes import restore_and_say

        restore_and_say(config)
        return DONE
    super_resolve(config)
    return DONE


def _run_simulate(config: Any) -> None:
    with uncollected():
        from focvs.commands.simulate import simulate_scan

    simulate_scan(config)


def _run_demo(config: Any) -> None:
    with uncollected():
        from focvs.commands.demo import run_demo

    run_demo(config)


def _run_calibrate(config: Any) -> None:
    with uncollected():
        from focvs.commands.calibrate import calibrate_prior

    calibrate_prior(config)


def _run_profile(config: Any) -> None:
    with uncollected():
        from focvs.commands.profile import estimate_scan_profile

    estimate_scan_profile(config)


def _run_evaluate(config: Any) -> None:
    with uncollected():
        from focvs.commands.evaluate import evaluate_estimates

    evaluate_estimates(config)


def _run_qmri(config: Any) -> None:
    with uncollected():
        from focvs.commands.qmri import sharpen

    sharpen(config)


def _run_study(overrides: list[str]) -> int:
    """Every job of a sweep, then its tables and pictures."""
    from focvs.commands.multirun import first_of_sweep, run_sweep
    from focvs.commands.sweep import check_job, forget_failures
    from focvs.commands.sweep_tables import as_table, collect
    from focvs.files import require_writable

    first = first_of_sweep("sweep", overrides, SWEPT["sweep"], check_job)
    folder = Path(first[0].output_dir)
    require_writable(folder)
    forget_failures(folder)
    done = run_sweep("sweep", overrides, SWEPT["sweep"], _run_one_job, first)
    summary, failed = collect(folder)
    for line in as_table(summary):
        print(line)
    return DONE if done and not failed else FAILED


def _run_one_scan(settings: Any) -> None:
    try:
        if _run_scan(settings) != DONE:
            raise FocvsError("at least one scan of the folder failed.")
    except FocvsError as error:
        log.error("focvs: %s: %s", Path(settings.output_dir).name, error)
        from hydra.errors import CompactHydraException

        raise CompactHydraException("focvs: at least one job failed; its reason is above.") from None


def _run_one_job(settings: Any) -> None:
    from focvs.commands.sweep import run_job

    run_job(settings)


def entry() -> None:
    """Console script."""
    leave(main())


if __name__ == "__main__":
    entry()
