"""focvs doctor: what of this installation works, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from focvs import __version__
from focvs.config import checkpoints_dir, conf_dir
from focvs.errors import FocvsError, first_line
from focvs.hardware import multiplies_bfloat16, usable_cores, usable_memory_mib

WORKS, MISSING, BROKEN = "works", "missing", "broken"
NEEDED = ("torch", "numpy", "scipy", "nibabel", "diffusers", "monai", "hydra-core", "safetensors", "matplotlib")
# what an extra brings: its distribution, the module to import, what it is for, and the extra
EXTRAS = (
    ("dcm2niix", "dcm2niix", "DICOM series", "dicom"),
    ("pydicom", "pydicom", "DICOM series", "dicom"),
    ("SimpleITK", "SimpleITK", "NRRD and MHA files, registration of stacks", "formats"),
    ("deepinv", "deepinv", "our operator in deepinv's algorithms", "deepinv"),
    ("hydra-joblib-launcher", "hydra_plugins.hydra_joblib_launcher", "sweeps side by side", "launchers"),
    ("hydra-submitit-launcher", "hydra_plugins.hydra_submitit_launcher", "sweeps on a cluster", "launchers"),
)
LEAST_MEMORY_GIB, LEAST_DISK_GIB = 2.0, 1.0


@dataclass(frozen=True)
class Finding:
    """Something that was looked at: whether it works, what there is, what mends it; ``needed`` by every run or not."""

    name: str
    status: str
    detail: str
    cure: str = ""
    needed: bool = True


def examine() -> bool:
    """Print a line for everything that was looked at.

    Returns:
        Whether what every run needs works.
    """
    sound = True
    for finding in findings():
        print(f"{finding.status:8s}{finding.name:27s}{finding.detail}", flush=True)
        if finding.cure:
            print(f"{'':35s}{finding.cure}")
        sound &= finding.status == WORKS or not finding.needed
    print("everything that a restoration needs works." if sound else "a restoration cannot work like this; see above.")
    return sound


def findings() -> Iterator[Finding]:
    """Program, libraries, machine, weights, extras."""
    yield Finding("focvs", WORKS, f"{__version__}, {Path(__file__).resolve().parents[1]}")
    yield Finding("Python", WORKS, f"{platform.python_version()} on {platform.platform(terse=True)}")
    for name in NEEDED:
        yield _library(name)
    yield _folder("configurations", conf_dir(), "config.yaml")
    yield from _machine()
    yield from _weights()
    for distribution, module, what, extra in EXTRAS:
        yield _extra(distribution, module, what, extra)


def _library(name: str) -> Finding:
    try:
        return Finding(name, WORKS, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, MISSING, "", "pip install --upgrade focvs")


def _folder(name: str, folder: Path, file: str) -> Finding:
    there = (folder / file).is_file()
    cure = "" if there else "install focvs again: pip install --force-reinstall --no-deps focvs"
    return Finding(name, WORKS if there else MISSING, str(folder), cure)


def _machine() -> Iterator[Finding]:
    import torch

    memory = usable_memory_mib()
    size = "not told by the system" if memory is None else f"{memory / 1024:.1f} GiB free"
    short = memory is not None and memory < 1024 * LEAST_MEMORY_GIB
    yield Finding(
        "processor", WORKS, f"{usable_cores()} cores, {'' if multiplies_bfloat16() else 'no '}units for bfloat16"
    )
    yield Finding(
        "memory", BROKEN if short else WORKS, size, "close other programs: a head takes 2 GiB" if short else ""
    )
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    cure = "free some, or set TMPDIR to another disk" if free < LEAST_DISK_GIB else ""
    yield Finding("temporary files", BROKEN if cure else WORKS, f"{free:.1f} GiB free in {tempfile.gettempdir()}", cure)
    if torch.cuda.is_available():
        yield from (
            Finding(f"cuda:{i}", WORKS, torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())
        )
    elif torch.backends.mps.is_available():
        yield Finding("mps", WORKS, "Apple GPU")
    else:
        build = "with CUDA" if torch.version.cuda else "without CUDA"
        yield Finding("GPU", MISSING, f"none is seen by this build of torch ({build})", needed=False)


def _weights() -> Iterator[Finding]:
    from focvs.priors.precision import choose_precision
    from focvs.priors.pretrained import load_prior

    folders = [path for path in sorted(checkpoints_dir().glob("*")) if path.is_dir()]
    if not folders:
        yield Finding("weights", MISSING, str(checkpoints_dir()), "install focvs again, from its wheel")
    for folder in folders:
        began = time.perf_counter()
        try:
            prior = load_prior(folder)
        except FocvsError as error:
            yield Finding(f"weights {folder.name}", BROKEN, first_line(error), "install focvs again, from its wheel")
            continue
        seconds = time.perf_counter() - began
        yield Finding(f"weights {folder.name}", WORKS, f"SHA-256 {prior.sha256[:16]}, loaded in {seconds:.1f} s")
        if not prior.samples:
            patches = prior.patches("cpu")
            evaluate: Callable = lambda dtype, prior=prior, patches=patches: prior.evaluate(patches, dtype)  # noqa: E731
            chosen = choose_precision("auto", "cpu", evaluate, patches.numel())
            yield Finding("precision on the processor", WORKS, f"{chosen.name}: {chosen.reason}")


def _extra(distribution: str, module: str, what: str, extra: str) -> Finding:
    try:
        importlib.import_module(module)
        return Finding(distribution, WORKS, f"{importlib.metadata.version(distribution)}, for {what}", needed=False)
    except ImportError:
        return Finding(distribution, MISSING, f"for {what}", f"pip install 'focvs[{extra}]'", needed=False)
    except Exception as error:  # of a broken installation: anything
        cure = f"pip install --force-reinstall 'focvs[{extra}]'"
        return Finding(distribution, BROKEN, f"for {what}: {first_line(error)}", cure, needed=False)
