"""Fixtures shared by all tests: few threads, small phantoms, a tiny prior, real data where it is."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from monai.networks.nets import DiffusionModelUNet

from fine_scans import PIXEL
from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.priors.networks import HaarUNet2D
from focvs.priors.own import save_prior
from runs import TRAINED
from scans import isotropic_field, write_scan, write_thick_scan
from stacked import stack_of

torch.set_num_threads(1 if os.environ.get("PYTEST_XDIST_WORKER") else 2)  # a core for each process


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real scans, from FOCVS_DATA."""
    folder = Path(os.environ.get("FOCVS_DATA", ""))
    if not os.environ.get("FOCVS_DATA") or not folder.is_dir():
        pytest.skip("FOCVS_DATA does not name a folder of real scans")
    return folder


@pytest.fixture(scope="session")
def import_script() -> Callable[[str], ModuleType]:
    """A function that imports a file of scripts/ by its name."""
    folder = str(Path(__file__).resolve().parents[1] / "scripts")

    def load(name: str) -> ModuleType:
        sys.path.insert(0, folder)
        try:
            return importlib.import_module(name)
        finally:
            sys.path.remove(folder)

    return load


@pytest.fixture(scope="session")
def phantom() -> tuple[np.ndarray, np.ndarray]:
    """A small head: clean and noisy, ``(56, 64, 60)``."""
    return head_phantom((56, 64, 60), seed=1)


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior folder with an untrained network, for everything that does not depend on quality."""
    folder = tmp_path_factory.mktemp("tiny_prior")
    torch.manual_seed(0)
    save_prior(HaarUNet2D(block_out_channels=(8, 8), norm_groups=4, trained=TRAINED), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_conditioned_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, told of the scan."""
    folder = tmp_path_factory.mktemp("tiny_conditioned_prior")
    torch.manual_seed(0)
    save_prior(HaarUNet2D(block_out_channels=(8, 8), norm_groups=4, conditioned=True, trained=TRAINED), folder)
    return folder


@pytest.fixture
def thick_scan(tmp_path: Path, phantom: tuple[np.ndarray, np.ndarray]) -> Path:
    """As :func:`scans.write_thick_scan` has it."""
    return write_thick_scan(tmp_path / "scan.nii.gz", phantom[1])


@pytest.fixture
def field_scan(tmp_path: Path) -> Path:
    """Slices of 4 mm every 4 mm of a ball of texture, without a word on their thickness."""
    field = isotropic_field()
    ball = np.sqrt(
        sum((np.arange(n) - n / 2)[(slice(None), *[None] * (2 - i))] ** 2 for i, n in enumerate(field.shape))
    )
    volume = np.where(ball < 54, 500 + 60 * field, 0).astype(np.float32)
    slices = simulate_slices(volume, 1.0, gaussian_profile(4.0), 4.0)
    return write_scan(tmp_path / "scan.nii.gz", slices, np.diag([1.0, 1.0, 4.0, 1.0]))


@pytest.fixture
def fine_scan(tmp_path, phantom):
    """Axial, 0.4 x 0.4 mm, 55 x 63 pixels, 2 mm slices every 2.4 mm."""
    slices = simulate_slices(1000 * phantom[1][:55, :63], PIXEL, gaussian_profile(2.0), 2.4)
    affine = np.diag([-PIXEL, PIXEL, 2.4, 1.0])
    affine[:3, 3] = (11.0, -12.0, -13.0)
    return write_scan(tmp_path / "scan.nii.gz", slices, affine)


@pytest.fixture(scope="module")
def stack_head(phantom):
    """``(54, 63, 60)`` voxels of 1.2 mm, right-anterior-superior."""
    return 1000 * phantom[0][1:55, :63]


@pytest.fixture
def axial(tmp_path, stack_head):
    return stack_of(tmp_path / "axial.nii.gz", stack_head, 2)


@pytest.fixture
def sagittal(tmp_path, stack_head):
    return stack_of(tmp_path / "sagittal.nii.gz", stack_head, 0, scale=0.5)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def volumetric_bundle(tmp_path_factory):
    """An untrained 3D network, as MONAI writes one."""
    folder = tmp_path_factory.mktemp("bundle")
    numbers = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 4, 8, 8], "num_res_blocks": 1}
    numbers |= {"attention_levels": [False] * 4, "norm_num_groups": 4, "num_head_channels": 4}
    torch.manual_seed(0)
    network = DiffusionModelUNet(**numbers)
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    config = {"network_def": {"_target_": "DiffusionModelUNet"} | numbers}
    config["noise_scheduler"] = {"_target_": "DDPMScheduler", "prediction_type": "v_prediction"}
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    return folder
