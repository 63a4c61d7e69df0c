"""The schema of a restoration, conf/config.yaml: types and accepted values. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

# settings that change no voxel of a result
NEUTRAL = ("batch", "device", "devices", "figure", "log", "progress", "report", "workers")


class Planes(Enum):
    """How 2D slices of the volume are denoised."""

    average = "average"
    alternate = "alternate"
    coronal = "coronal"
    sagittal = "sagittal"
    axial = "axial"


class Calibration(Enum):
    """Where the calibrated rule takes the prior's error spectrum from."""

    scan = "scan"
    table = "table"


@dataclass
class SamplerConfig:
    name: str = MISSING
    steps: int | None = MISSING
    sigma_start: float | None = MISSING
    sigma_end: float = 0.02
    rho: float = 7.0
    mirrors: int = 1
    levels: int = 10
    eta: float = 0.0
    temperature: float = 1.0
    guidance: float = 1.0


@dataclass
class ConsistencyConfig:
    rule: str = MISSING
    calibration: Calibration = Calibration.scan
    air: float = 0.1
    strength: float = 7.0
    eta: float = 0.85


@dataclass
class PriorConfig:
    name: str = MISSING
    kind: str = "focvs"
    path: str | None = None
    prediction: str = "auto"
    scaling: str = "auto"
    patch: list[int] | None = field(default_factory=lambda: [96, 96, 96])
    overlap: float = 0.25
    told: bool = True


@dataclass
class ProfileConfig:
    kind: str = MISSING
    path: str | None = None
    time_bandwidth: float = 4.0


@dataclass
class AdaptationConfig:
    steps: int = MISSING
    learning_rate: float = MISSING
    method: str = MISSING
    rank: int = MISSING
    batch_size: int = MISSING
    patch: int = MISSING
    sigma_log_mean: float = MISSING
    sigma_log_std: float = MISSING
    seed: int = MISSING
    cache: str | None = None


@dataclass
class BaselineConfig:
    tv_weight: float = 0.001
    tv_iterations: int = 20
    training_steps: int = 600


@dataclass
class RunConfig:
    """Super-resolution of one scan; conf/config.yaml explains each key."""

    scan: str = MISSING
    output_dir: str | None = None
    quality: str = MISSING
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    method: str = "focvs"
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    adapt: bool = False
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    planes: Planes = Planes.alternate
    steps: int | None = None
    thickness: Any = None
    spacing: float | None = None
    voxel: Any = "auto"
    noise: Any = "auto"
    slice_gains: str = "auto"
    rician_bias: str = "auto"
    stacks: list[str] = field(default_factory=list)
    guide: str | None = None
    exclude: list[Any] = field(default_factory=list)
    series: str | None = None
    echo: int | None = None
    align: str = "rigid"
    samples: int = 0
    batch: Any = "auto"
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    precision: str = "auto"
    compile: bool = False
    save_samples: bool = False
    final_replacement: Any = "auto"
    nonnegative: Any = "auto"
    isotropic: float | None = None
    dtype: str = "float32"
    overwrite: bool = False
    shard: str | None = None
    workers: int = 1
    log: str = "text"
    figure: bool = True
    report: bool = True
    progress: bool = True
