"""What focvs qmri asks of every signal, restored by itself."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.truncation import KSpaceTruncation
from focvs.commands.restored_signals import WIDER, pose
from focvs.config import QmriConfig
from focvs.errors import InputError
from focvs.reconstruction.signal_domain import domain_of_maps
from focvs.scan.maps import Volumes
from runs import mean_prior

DOMAIN = domain_of_maps((True, True, True))


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch):
    mean_prior(tmp_path / "mean2d")
    monkeypatch.setattr("focvs.reconstruction.setup.checkpoints_dir", lambda: tmp_path)


def volumes(shape, affine, rng):
    """Signals of a block with texture, and the files they would be of."""
    signals = np.zeros((*shape, 3))
    inner = tuple(slice(n // 6, -(n // 6)) for n in shape)
    signals[inner] = rng.uniform(0.5, 1.0, signals[inner].shape)
    return signals, Volumes(signals, affine, nib.Nifti1Header(), Path("t1.nii.gz"))


def configured(**options):
    config = QmriConfig(**options)
    config.profile.kind = "gaussian"
    return config


@pytest.mark.parametrize("axis", [0, 2])
def test_slices_are_the_coarsest_axis_and_are_reproduced(rng, axis):
    shape, sizes = [24, 26, 28], [1.0, 1.0, 1.0, 1.0]
    shape[axis], sizes[axis] = 8, 4.0
    signals, files = volumes(shape, np.diag(sizes), rng)
    found = pose(signals, files, DOMAIN, configured(thickness=3.0, samples=2))
    assert found.axis == axis and isinstance(found.operator, ThroughPlaneOperator)
    assert found.operator.profile.fwhm_mm == pytest.approx(3.0) and found.estimate.shape[-1] == 32
    assert found.measured.shape[1:] == (*[n for k, n in enumerate(shape) if k != axis], 8)
    residual = (found.operator(found.estimate) - found.measured).abs().max()
    assert float(residual) < 1e-3
    assert found.draws.shape == (2, *found.estimate.shape)
    assert not torch.equal(found.draws[0, 0] - found.estimate[0], found.draws[0, 1] - found.estimate[1])
    assert bool((found.deviation >= 0).all()) and found.mask.any()


def test_voxels_of_a_truncation_fill_the_same_field_of_view(rng):
    affine = np.diag([1.2, 2.4, 4.8, 1.0])
    signals, files = volumes((24, 12, 8), affine, rng)
    found = pose(signals, files, DOMAIN, configured(truncation=[1, 2, 4]))
    assert isinstance(found.operator, KSpaceTruncation) and found.estimate.shape == (3, 24, 24, 32)
    np.testing.assert_allclose(found.voxel_mm, 1.2)
    edges = [image_affine @ [*(-0.5, -0.5, -0.5), 1] for image_affine in (affine, found.affine)]
    np.testing.assert_allclose(edges[0], edges[1], atol=1e-9)
    assert found.draws is None


@pytest.mark.slow
def test_deviations_are_wider_where_two_axes_are_far_coarser(rng, monkeypatch):
    signals, files = volumes((24, 8, 8), np.diag([1.0, 4.0, 4.0, 1.0]), rng)
    config = configured(truncation=[1, 4, 4], samples=2)
    wide = pose(signals, files, DOMAIN, config)
    monkeypatch.setattr("focvs.commands.restored_signals.WIDER", 0.0)
    narrow = pose(signals, files, DOMAIN, config)
    assert torch.equal(wide.estimate, narrow.estimate)
    assert torch.allclose(wide.deviation, (1 + 2 * WIDER) * narrow.deviation)
    spread = [(found.draws[0] - found.estimate).pow(2).mean().sqrt() for found in (wide, narrow)]
    assert float(spread[0] / spread[1]) == pytest.approx(1 + 2 * WIDER, rel=1e-3)


def test_messages_name_the_file_that_was_given(rng, caplog):
    caplog.set_level("INFO", "focvs")
    signals, files = volumes((24, 26, 8), np.diag([1.0, 1.0, 4.0, 1.0]), rng)
    pose(signals, files, DOMAIN, configured(thickness=4.0))
    assert "signal 3 of 3" in caplog.text
    assert "wrote" not in caplog.text and "nonnegative=" not in caplog.text  # what is gone, and no key of this command
    fine = Volumes(signals, np.eye(4), files.header, files.path)
    with pytest.raises(InputError, match=r"^t1\.nii\.gz has voxels of 1 x 1 x 1 mm"):
        pose(signals, fine, DOMAIN, configured())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"truncation": [1, 2]}, "three whole numbers"),
        ({"truncation": [1, 2, 9]}, "from 1 to 8"),
        ({"truncation": [1, 1, 2], "spacing": 4.0}, "leave out thickness=, spacing= and profile="),
        ({"truncation": [2, 1, 1]}, "axis 0 of the files has 4 voxels, and 5 are needed"),
    ],
)
def test_truncations_that_cannot_be_are_refused(rng, options, words):
    signals, files = volumes((4, 12, 12), np.eye(4), rng)
    with pytest.raises(InputError, match=words):
        pose(signals, files, DOMAIN, configured(**options))
