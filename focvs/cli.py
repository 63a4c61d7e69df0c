"""The commands. Arguments are read here; torch is imported only once there is work to do."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focvs import __version__
from focvs.commands.command_help import help_of
from focvs.commands.command_line import read_line, require_command_or_path, require_key_words
from focvs.commands.completion import completion_script
from focvs.commands.overrides import (
    UsageError,
    compose,
    require_keys,
    to_overrides,
    to_schema,
    told_to_runs,
)
from focvs.errors import FocvsError, is_out_of_memory
from focvs.files import require_there

log = logging.getLogger("focvs")

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
# configurations that are swept, and what they need, the output folder last
SWEPT = {"config": ("scan", "output_dir"), "sweep": ("volume", "output_dir")}

HELP = """\
focvs: through-plane super-resolution of head MRI, exactly consistent with the scan

  focvs SCAN [OUTPUT_DIR] [key=value ...]      restore a multi-slice scan (.nii, .nii.gz, DICOM folder)
  focvs SCAN STACK.nii.gz... [OUTPUT_DIR] [...] one volume from several stacks of the same head (DICOM: stacks=[folder])
  focvs FOLDER OUTPUT_DIR [key=value ...]      every scan in a folder and those below it, into a tree like it
  focvs -m SCAN OUTPUT_DIR key=a,b [...]       every combination, one folder each
  focvs demo [DIR] [key=value ...]             generate a head, degrade it, restore it, score it
  focvs simulate VOLUME OUTPUT [key=value ...] make a thick-slice scan from a thin-slice volume
  focvs calibrate DATA prior=... [key=value ...]  measure the errors of a prior on volumes
  focvs profile SCAN [OUTPUT_DIR] [key=value ...] estimate the slice thickness from the scan itself
  focvs qmri OUTPUT_DIR density=PD t1=T1 t2=T2 guides=[T1W,T2W] [...]  maps of PD, T1, T2, with sharp images as guides
  focvs sweep VOLUME OUTPUT_DIR thickness=3,5 gap=0,1 seed=0,1,2 method=spline,focvs [...] simulate, restore, score all
  focvs collect OUTPUT_DIR                     one page and one table of all scans restored into a folder
  focvs doctor                                 what of this installation works, and what mends the rest
  focvs weights [list | verify | add NAME FOLDER_OR_HUB_ID]  weights that there are, and more of them
  focvs evaluate TRUTH ESTIMATE... [key=value ...] PSNR, SSIM, HFEN, edges, spectrum, residual against the truth

common keys (focvs --cfg job prints all of them with their values):
  thickness=5         slice thickness in mm (default: the scan's JSON, else its slice spacing); estimate: from the scan
  spacing=6           distance of slice centres in mm (default: from the geometry)
  profile=gaussian    gaussian, rect, slr, kspace (thick partitions of a 3D scan), or a .npy file
  quality=default     fast, default, best: the mean of the volume given the scan, and how far it may be off;
                      samples: posterior samples, whose mean is the result
  method=focvs        or a baseline: nearest, linear, spline, replaced, pseudo_inverse, total_variation,
                      self_super_resolution, implicit_representation
  sampler=mean        with quality=samples resample, dpmpp_2m, ddim, ddpm; dps with consistency=none
  samples=4           volumes drawn around the mean and written beside it; quality=samples averages its own
  consistency=calibrated   calibrated, ddnm, diffpir, none; with sampler=ddpm ddnm_plus, ddrm
  adapt=false         true, with quality=samples: fine-tune the prior on the scan's own slices first (minutes)
  planes=alternate    alternate, average (twice the time), coronal, sagittal, axial
  precision=auto      auto, float32, bfloat16, float16 (GPU): what networks compute in
  voxel=auto          voxel size along the slice axis in mm; auto = the in-plane voxel size
  device=auto         auto, cpu, cuda, cuda:1, mps
  seed=0  save_samples=false  noise=auto  batch=auto  compile=false
  prior=mean2d        mean2d; with quality=samples head2d, head3d, diffusers, medforj, monai; path= the checkpoint

options: -h --help, -o --output DIR, -q --quiet, -v --verbose, -m --multirun, --cfg job, --version
focvs COMMAND --help explains every key of a command (focvs restore --help those of a restoration);
focvs completion bash (zsh, fish) prints a script that completes commands and keys
exit codes: 0 done, 1 a job failed, 2 usage, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is returned."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("focvs").setLevel(logging.INFO)
    try:
        return _dispatch(arguments)
    except UsageError as error:
        print(f"focvs: {error}", file=sys.stderr)
        return USAGE
    except FocvsError as error:
        print(f"focvs: {error}", file=sys.stderr)
        return FAILED
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print("focvs: memory ran out; give smaller volumes, or use a machine with more memory.", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("focvs: interrupted; no file was left half written.", file=sys.stderr)
        return INTERRUPTED


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
    if line.words[:1] in (["doctor"], ["weights"], ["collect"]) and not os.path.exists(line.words[0]):
        return _look_after(line.words)
    if line.level is not None:
        logging.getLogger("focvs").setLevel(line.level)
    command = commands[named or "restore"]
    name, words, multirun = command.configuration, line.words[1 if named else 0 :], line.multirun
    if not named and words:
        require_command_or_path(words[0], (*commands, "doctor", "weights", "collect", "completion"))
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
    return command.run(to_schema(config)) or DONE


def _look_after(words: list[str]) -> int:
    """``focvs doctor``, ``weights`` and ``collect``, which have no configuration."""
    if words[0] == "weights":
        from focvs.commands.weights import manage_weights

        return DONE if manage_weights(words[1:]) else FAILED
    if words[0] == "collect":
        if len(words) != 2:
            raise UsageError("focvs collect takes the folder of the results, and nothing else.")
        from focvs.commands.collect import collect

        collect(Path(words[1]))
        return DONE
    if words[1:]:
        raise UsageError(f"focvs doctor takes no words, and {words[1]} was given.")
    from focvs.commands.doctor import examine

    return DONE if examine() else FAILED


def _run_scan(config: Any) -> int:
    require_there(Path(config.scan))  # before seconds go into importing torch
    from focvs.pipeline import super_resolve

    if Path(config.scan).is_dir():
        from focvs.commands.cohort import restore_cohort, scans_of

        if found := scans_of(config):
            return DONE if restore_cohort(config, found) else FAILED
    super_resolve(config)
    return DONE


def _run_simulate(config: Any) -> None:
    from focvs.commands.simulate import simulate_scan

    simulate_scan(config)


def _run_demo(config: Any) -> None:
    from focvs.commands.demo import run_demo

    run_demo(config)


def _run_calibrate(config: Any) -> None:
    from focvs.commands.calibrate import calibrate_prior

    calibrate_prior(config)


def _run_profile(config: Any) -> None:
    from focvs.commands.profile import estimate_scan_profile

    estimate_scan_profile(config)


def _run_evaluate(config: Any) -> None:
    from focvs.commands.evaluate import evaluate_estimates

    evaluate_estimates(config)


def _run_qmri(config: Any) -> None:
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
    sys.exit(main())


if __name__ == "__main__":
    entry()
