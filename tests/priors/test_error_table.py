import pytest
import torch

from focvs.priors.error_table import ErrorTable


def test_table_interpolates_over_noise_level_and_frequency_and_extends_by_sigma_squared():
    sigmas = torch.tensor([0.1, 0.4], dtype=torch.float64)
    frequency = torch.arange(8, dtype=torch.float64)
    table = ErrorTable(sigmas, sigmas[:, None] ** 2 * torch.exp(-frequency / 4), pixel_mm=1.0)
    wanted = torch.tensor([0.2, 0.05, 1.6], dtype=torch.float64)
    got = table.at(wanted, voxels=8, voxel_mm=1.0)
    assert torch.allclose(got, wanted[:, None] ** 2 * torch.exp(-frequency / 4), rtol=1e-9)
    # voxels of 2 mm reach half the frequencies in cycles per mm
    coarse = table.at(wanted, voxels=8, voxel_mm=2.0)
    assert torch.allclose(coarse, wanted[:, None] ** 2 * torch.exp(-frequency / 8), rtol=1e-9)


def test_round_trip(tmp_path):
    table = ErrorTable(torch.tensor([0.1, 0.4]), torch.rand(2, 8), 0.9)
    table.save(tmp_path / "calibration.safetensors")
    back = ErrorTable.load(tmp_path / "calibration.safetensors")
    assert torch.allclose(back.variance.float(), table.variance)
    assert back.pixel_mm == pytest.approx(0.9)
