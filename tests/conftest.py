"""Fixtures shared by all tests: few threads, small phantoms, a tiny prior, real data where it is."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import torch

from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.priors.networks import HaarUNet2D
from focvs.priors.pretrained import save_prior

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
    save_prior(HaarUNet2D(block_out_channels=(8, 8), norm_groups=4), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_conditioned_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, told of the scan."""
    folder = tmp_path_factory.mktemp("tiny_conditioned_prior")
    torch.manual_seed(0)
    save_prior(HaarUNet2D(block_out_channels=(8, 8), norm_groups=4, conditioned=True), folder)
    return folder


def write_scan(path: Path, data: np.ndarray, affine: np.ndarray, qcode: int = 1, scode: int = 1) -> Path:
    """Write a NIfTI with given form codes, units mm."""
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, qcode)
    image.set_sform(affine, scode)
    nib.save(image, path)
    return path


@pytest.fixture
def thick_scan(tmp_path: Path, phantom: tuple[np.ndarray, np.ndarray]) -> Path:
    """An axial scan of the phantom: 12 slices of 5 mm every 6 mm, 1.2 mm in-plane."""
    slices = simulate_slices(1000 * phantom[1], 1.2, gaussian_profile(5.0), 6.0)
    affine = np.diag([-1.2, 1.2, 6.0, 1.0])
    affine[:3, 3] = (30.0, -40.0, -33.0)
    return write_scan(tmp_path / "scan.nii.gz", slices, affine)


def isotropic_field(shape: tuple[int, int, int] = (112, 120, 128), seed: int = 0) -> np.ndarray:
    """A Gaussian random field of 1 mm voxels whose power falls as the third power of frequency: no axis is special."""
    frequency = np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij")
    radius = np.sqrt(sum(f**2 for f in frequency))
    white = np.random.default_rng(seed).standard_normal(shape)
    field = np.fft.ifftn(np.fft.fftn(white) / (0.02 + radius) ** 1.5).real
    return (field / field.std()).astype(np.float32)


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
