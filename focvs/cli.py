"""The commands. Arguments are read here; torch is imported only once there is work to do."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focvs import __version__
from focvs.errors import FocvsError

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger("focvs")

DONE, FAILED, USAGE = 0, 1, 2
GROUPS = ("sampler", "consistency", "prior", "adaptation")  # of conf/, besides profile

HELP = """\
focvs: through-plane super-resolution of head MRI, exactly consistent with the scan

  focvs SCAN [OUTPUT_DIR] [key=value ...]      restore a multi-slice scan (.nii, .nii.gz, DICOM folder)
  focvs SCAN STACK.nii.gz... [OUTPUT_DIR] [...] one volume from several stacks of the same head (DICOM: stacks=[folder])
  focvs -m SCAN OUTPUT_DIR key=a,b [...]       every combination, one folder each
  focvs demo [DIR] [key=value ...]             generate a head, degrade it, restore it, score it
  focvs simulate VOLUME OUTPUT [key=value ...] make a thick-slice scan from a thin-slice volume
  focvs calibrate DATA prior=... [key=value ...]  measure the errors of a prior on volumes
  focvs profile SCAN [OUTPUT_DIR] [key=value ...] estimate the slice thickness from the scan itself
  focvs sweep VOLUME OUTPUT_DIR thickness=3,5 gap=0,1 seed=0,1,2 method=spline,focvs [...] simulate, restore, score all
  focvs evaluate TRUTH ESTIMATE... [key=value ...] PSNR, SSIM, HFEN, edges, spectrum, residual against the truth

common keys (focvs --cfg job prints all of them with their values):
  thickness=5         slice thickness in mm (default: the scan's JSON, else its slice spacing); estimate: from the scan
  spacing=6           distance of slice centres in mm (default: from the geometry)
  profile=gaussian    gaussian, rect, slr, kspace (thick partitions of a 3D scan), or a .npy file
  samples=4           posterior samples; their mean is the result, their spread the uncertainty
  method=focvs        or a baseline: nearest, linear, spline, replaced, pseudo_inverse, total_variation,
                      self_super_resolution
  sampler=resample    resample, dpmpp_2m, ddim, ddpm
  steps=12            denoising steps per sample
  consistency=calibrated   calibrated, ddnm, diffpir, none; with sampler=ddpm ddnm_plus, ddrm
  adapt=false         true: fine-tune the prior on the scan's own slices first (minutes)
  planes=alternate    alternate, average (twice the time), coronal, sagittal, axial
  voxel=auto          voxel size along the slice axis in mm; auto = the in-plane voxel size
  device=auto         auto, cpu, cuda, cuda:1, mps
  seed=0  save_samples=false  noise=auto  batch=1
  prior=head2d        head2d, diffusers, medforj, monai; path= the checkpoint's place

options: -h --help, --version, --cfg job, -m --multirun
exit codes: 0 done, 1 a job failed, 2 usage
"""


class UsageError(FocvsError):
    """A command line that cannot be understood."""


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


def _dispatch(arguments: list[str]) -> int:
    if not arguments or {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return DONE if arguments else USAGE
    if "--version" in arguments:
        print(f"focvs {__version__}")
        return DONE
    show, multirun, words = False, False, []
    rest = iter(arguments)
    for word in rest:
        if word in ("--cfg", "-c"):
            if next(rest, "job") != "job":
                raise UsageError("--cfg takes job.")
            show = True
        elif word in ("-m", "--multirun"):
            multirun = True
        elif word.startswith("-") and not Path(word).exists():
            raise UsageError(f"{word} is not an option; see focvs --help.")
        else:
            words.append(word)
    commands: dict[str, tuple[str, tuple[str, ...], Callable[[Any], None]]] = {
        "demo": ("demo", ("output_dir",), _run_demo),
        "simulate": ("simulate", ("volume", "output"), _run_simulate),
        "calibrate": ("calibrate", ("data",), _run_calibrate),
        "profile": ("estimate", ("scan", "output_dir"), _run_profile),
        "evaluate": ("evaluate", ("truth", "estimates*"), _run_evaluate),
        "sweep": ("sweep", ("volume", "output_dir"), _run_scan),
    }
    command = words.pop(0) if words and words[0] in commands else ""
    name, positional, run = commands.get(command, ("config", ("scan", "output_dir"), _run_scan))
    overrides = to_overrides(words, positional, name)
    if name == "sweep":
        overrides = told_to_runs(overrides)
    if show and name == "sweep":
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(first_of_sweep(name, overrides, ("volume", "output_dir"))[0]), end="")
        return DONE
    if show:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(compose(name, overrides)), end="")
        return DONE
    if name == "sweep":
        return _run_study(overrides)
    if multirun:
        if name != "config":
            raise UsageError(f"-m sweeps scans, not focvs {name}.")
        return _run_sweep(name, overrides, ("scan", "output_dir"), _run_one_scan)
    config = compose(name, overrides)
    _require(config, [p.rstrip("*") for p in positional] if name not in ("config", "estimate") else ["scan"])
    run(to_schema(config))
    return DONE


def to_overrides(words: Sequence[str], positional: Sequence[str], name: str = "config") -> list[str]:
    """Hydra overrides from command-line words: ``key=value`` as it is, other words as quoted positionals.

    A word is ``key=value`` where it looks like one, unless a file of that name exists, or its key is none of
    conf/``name``.yaml and it could be a path. A last positional with a star takes all the words that are left.

    Raises:
        UsageError: for more words than positionals.
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
            overrides.append(_shorthand(word))
        elif given < len(single):
            overrides.append(f"{single[given]}={quote(word)}")
            given += 1
        elif not positional[-1].endswith("*"):
            raise UsageError(f"{word} is one argument too many; paths first, then key=value (see focvs --help).")
        else:
            rest.append(quote(word))
    if rest:
        overrides.append(f"{positional[-1].rstrip('*')}=[{','.join(rest)}]")
    return [o for override in overrides for o in override.split("\0")]


def further_stacks(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words without the NIfTI files named after the first path, and those files: further stacks."""
    kept: list[str] = []
    stacks: list[str] = []
    scan = any(word.startswith("scan=") for word in words)
    for word in words:
        path = not _is_override(word, "config")
        (stacks if path and scan and word.endswith((".nii", ".nii.gz")) else kept).append(word)
        scan |= path
    return kept, stacks


def _is_override(word: str, name: str) -> bool:
    from focvs.config import SCHEMAS

    found = re.match(r"^[~+]*([A-Za-z_][\w./@]*)=", word)
    if not found or Path(word).is_file():
        return False
    key = found[1]
    if re.split(r"[./@]", key)[0] in {"hydra", *(f.name for f in fields(SCHEMAS[name]))}:
        return True
    return "/" not in key and not Path(word).exists()


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


def _shorthand(word: str) -> str:
    """``profile=FILE.npy`` and ``path=`` of the prior, written out."""
    key, _, value = word.partition("=")
    if key == "path":
        return f"prior.path={quote(value)}"
    if key == "profile" and value.endswith(".npy"):
        return f"profile=sampled\0profile.path={quote(value)}"
    return word


def compose(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose conf/``name``.yaml with ``overrides``.

    Raises:
        UsageError: for an unknown key, a value of the wrong type or an unknown option.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from focvs.config import NUMBER_OR_WORD, conf_dir, register_schemas

    register_schemas()
    outer = GlobalHydra.get_state()  # of the job this is called from, if any
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = hydra_compose(name, list(overrides))
        for key, word in NUMBER_OR_WORD.items():
            value = config.get(key)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (value is None or value == word or number):
                raise UsageError(f"{key}={value} is not accepted; give a number or {word}.")
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(explain(error, name, overrides)) from error
    finally:
        GlobalHydra.set_state(outer)
    return config


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
        keys = ", ".join(f.name for f in fields(schema))
        return f"{found[1] or found[2]} is not a key; accepted are {keys}."
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
    first = str(error).strip().splitlines()[0]
    if found := re.search(r"Error merging override (\w+)=(\S+)", first):
        if found[1] in ("stacks", "estimates"):
            return f"{found[1]}={found[2]} is not accepted; a list is written {found[1]}=[{found[2]}]."
        return f"{found[1]}={found[2]} is not accepted; leave {found[1]} out or give it a value."
    return f"the options {' '.join(overrides)} could not be understood: {first}"


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


def _require(config: DictConfig, keys: Sequence[str]) -> None:
    from omegaconf import OmegaConf

    for key in keys:
        if OmegaConf.is_missing(config, key):
            raise UsageError(f"{key} is missing; see focvs --help.")


def _run_scan(config: Any) -> None:
    from focvs.pipeline import super_resolve

    super_resolve(config)


def _run_simulate(config: Any) -> None:
    from focvs.simulate import simulate_scan

    simulate_scan(config)


def _run_demo(config: Any) -> None:
    from focvs.demo import run_demo

    run_demo(config)


def _run_calibrate(config: Any) -> None:
    from focvs.calibrate import calibrate_prior

    calibrate_prior(config)


def _run_profile(config: Any) -> None:
    from focvs.estimate import estimate_scan_profile

    estimate_scan_profile(config)


def _run_evaluate(config: Any) -> None:
    from focvs.evaluate import evaluate_estimates

    evaluate_estimates(config)


def told_to_runs(overrides: Sequence[str]) -> list[str]:
    """Overrides of conf/sweep.yaml; keys that only conf/config.yaml has go to ``run``, where they can be swept too."""
    from focvs.config import RunConfig, SweepConfig

    own, others = ({f.name for f in fields(schema)} for schema in (SweepConfig, RunConfig))
    out = []
    for override in overrides:
        base = re.split(r"[.@=/]", override.lstrip("~+"))[0]
        if base in ("scan", "spacing", "stacks"):
            raise UsageError(f"{base}= is decided by the sweep; give volume=, thickness= and gap=.")
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


def _run_study(overrides: list[str]) -> int:
    """Every job of a sweep, then its tables and pictures."""
    config, _ = first_of_sweep("sweep", overrides, ("volume", "output_dir"))
    from focvs.results import require_writable
    from focvs.sweep import as_table, collect, forget_failures

    folder = Path(config.output_dir)
    require_writable(folder)
    forget_failures(folder)
    code = _run_sweep("sweep", overrides, ("volume", "output_dir"), _run_one_job)
    summary, failed = collect(folder)
    for line in as_table(summary):
        print(line)
    return FAILED if failed else code


def _run_one_scan(settings: Any) -> None:
    try:
        _run_scan(settings)
    except FocvsError as error:
        log.error("focvs: %s: %s", Path(settings.output_dir).name, error)
        from hydra.errors import CompactHydraException

        raise CompactHydraException("focvs: at least one job failed; its reason is above.") from None


def _run_one_job(settings: Any) -> None:
    from focvs.sweep import run_job

    run_job(settings)


def first_of_sweep(name: str, overrides: list[str], required: tuple[str, str]) -> tuple[DictConfig, list[str]]:
    """The first of the configurations that ``overrides`` with commas stand for, and the keys that have one value.

    Raises:
        UsageError: if any of the values is not accepted, or a required key is missing.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise UsageError(f"the options {' '.join(overrides)} could not be understood: {error}") from error

    def check(config: DictConfig) -> None:
        if name == "sweep":
            compose("config", run_overrides(to_schema(config).run))

    fixed = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    fixed = [o for o in fixed if not o.startswith(("hydra.", "hydra/"))]
    first = []
    for override in parsed:
        if override.is_sweep_override():
            values = [f"{override.get_key_element()}={v}" for v in override.sweep_string_iterator()]
            for value in values:
                check(compose(name, [*fixed, value]))
            first.append(values[0])
    config = compose(name, [*fixed, *first])
    _require(config, required)
    check(config)
    return config, [o.get_key_element().lstrip("+") for o in parsed if not o.is_sweep_override()]


def _run_sweep(name: str, overrides: list[str], required: tuple[str, str], run: Callable[[Any], None]) -> int:
    """Hydra multi-run of conf/``name``.yaml; every job is checked before the first one starts.

    Args:
        name: of the configuration.
        overrides: with commas where there are several values.
        required: keys that must be given, the output folder last.
        run: a job; its settings' ``output_dir`` is its own folder.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    from focvs.config import conf_dir

    config, single = first_of_sweep(name, overrides, required)
    if config[required[-1]] is None:
        raise UsageError("-m needs OUTPUT_DIR, the folder that gets one folder a job.")

    def job(config: DictConfig) -> None:
        settings = to_schema(config)
        settings.output_dir = HydraConfig.get().runtime.output_dir
        run(settings)

    unnamed = [*required, *single]
    command = ["focvs", "--multirun", *overrides, "hydra/job_logging=none", "hydra/hydra_logging=none"]
    command.append(f"hydra.job.config.override_dirname.exclude_keys=[{','.join(unnamed)}]")
    previous, sys.argv = sys.argv, command
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(job)()
    except SystemExit as stop:
        return FAILED if stop.code else DONE
    finally:
        sys.argv = previous
    return DONE


def entry() -> None:
    """Console script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
