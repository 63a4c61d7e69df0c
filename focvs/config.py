"""The schema of conf/: types, defaults that have no better place, and accepted values. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from focvs.errors import InputError
from focvs.run_config import AdaptationConfig, ConsistencyConfig, PriorConfig, ProfileConfig, RunConfig, SamplerConfig


def conf_dir() -> Path:
    """The folder of Hydra configurations: inside the installed package, or beside it in a checkout."""
    packaged = Path(__file__).resolve().parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[1] / "conf"


def checkpoints_dir() -> Path:
    """The folder of shipped priors: inside the installed package, or beside it in a checkout."""
    packaged = Path(__file__).resolve().parent / "checkpoints"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[1] / "checkpoints"


@dataclass
class SimulateConfig:
    """Thick slices from a thin-slice volume; conf/simulate.yaml explains each key."""

    volume: str = MISSING
    output: str = MISSING
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    thickness: float | None = None
    spacing: float | None = None
    axis: str = "inferior-superior"
    noise: float = 0.0
    rician: bool = False
    seed: int = 0


@dataclass
class DemoConfig:
    """The demonstration; conf/demo.yaml explains each key."""

    output_dir: str = "demo"
    thickness: float = 5.0
    spacing: float = 6.0
    contrast: str = "T1w"
    seed: int = 0
    device: str = "auto"


@dataclass
class EstimateConfig:
    """The slice profile of a scan; conf/estimate.yaml explains each key."""

    scan: str = MISSING
    output_dir: str | None = None
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    method: str = "spectral"
    seeds: int = 5
    spacing: float | None = None
    exclude: list[int] = field(default_factory=list)
    series: str | None = None
    echo: int | None = None
    slice_gains: str = "auto"
    overwrite: bool = False


@dataclass
class EvaluateConfig:
    """Estimates against the truth; conf/evaluate.yaml explains each key."""

    truth: str = MISSING
    estimates: list[str] = MISSING
    scan: str | None = None
    thickness: float | None = None
    spacing: float | None = None
    exclude: list[int] = field(default_factory=list)
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    axis: str = "inferior-superior"
    trim: float = 0.0
    lesions: str | None = None
    lesions_above: float = 1.5
    lesions_inside: float = 18.0
    tissues: int = 0
    brain: str | None = None
    segment_command: str | None = None
    vgg: str | None = None
    lpips: str | None = None
    slice_gains: str = "auto"
    output: str | None = None


@dataclass
class SweepConfig:
    """Methods over acquisitions; conf/sweep.yaml explains each key."""

    volume: str = MISSING
    output_dir: str = MISSING
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    thickness: float = 5.0
    gap: float = 0.0
    axis: str = "inferior-superior"
    scan_noise: float = 0.01
    seed: int = 0
    method: str = "focvs"
    trim: float = 0.0
    run: dict[str, Any] = field(default_factory=dict)


@dataclass
class QmriConfig:
    """Quantitative maps; conf/qmri.yaml explains each key."""

    output_dir: str = MISSING
    density: str | None = None
    t1: str | None = None
    t2: str | None = None
    images: list[str] = field(default_factory=list)
    image_sequences: list[Any] = field(default_factory=list)
    guides: list[str] = field(default_factory=list)
    sequences: list[Any] = field(default_factory=list)
    guide_error: float = 0.03
    align: str = "rigid"
    synthesise: list[str] = field(default_factory=list)
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    thickness: float | None = None
    spacing: float | None = None
    truncation: list[int] | None = None
    domain: str = "signal"
    signal_quality: str = "default"
    samples: int = 0
    seed: int = 0
    anchored: bool = True
    report: bool = True
    device: str = "auto"


@dataclass
class CalibrateConfig:
    """The error table of a prior; conf/calibrate.yaml explains each key."""

    data: str = MISSING
    prior: PriorConfig = field(default_factory=PriorConfig)
    output: str | None = None
    levels: int = 16
    slices: int = 2
    device: str = "auto"


SCHEMAS = {
    "config": RunConfig,
    "simulate": SimulateConfig,
    "demo": DemoConfig,
    "calibrate": CalibrateConfig,
    "estimate": EstimateConfig,
    "evaluate": EvaluateConfig,
    "sweep": SweepConfig,
    "qmri": QmriConfig,
}
# groups of options that only a restoration has
GROUPS = {
    "sampler": SamplerConfig,
    "consistency": ConsistencyConfig,
    "prior": PriorConfig,
    "adaptation": AdaptationConfig,
}
# keys, of any command, that take a number, null, or this word
NUMBER_OR_WORD = {"thickness": "estimate", "voxel": "auto", "noise": "auto", "batch": "auto"}
# of those, the ones that may be a list, one for each stack
LISTS = ("thickness",)
# keys that take true, false, or this word
FLAG_OR_WORD = {"final_replacement": "auto", "nonnegative": "auto"}


def parse_auto(name: str, value: Any) -> float | None:
    """None for ``auto``, else a finite number of at least 0.

    Raises:
        InputError: otherwise.
    """
    if value == "auto":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise InputError(f"{name}={value} must be auto or a number of at least 0.")
    return number


@cache  # once a process
def register_schemas() -> None:
    """Give Hydra the schemas that conf/*.yaml inherit from."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name=f"{name}_schema", node=schema)
    for group, schema in {**GROUPS, "profile": ProfileConfig}.items():
        store.store(group=group, name=f"{group}_schema", node=schema)
