import pytest
import torch

from focvs.priors.haar import haar, haar_inverse


def test_haar_is_orthonormal_and_keeps_white_noise_white():
    x = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    assert torch.allclose(haar_inverse(haar(x)), x)
    z = torch.randn(2, 12, 4, 6, dtype=torch.float64)
    assert torch.allclose(haar(haar_inverse(z)), z)
    assert float((haar(x) * z).sum()) == pytest.approx(float((x * haar_inverse(z)).sum()))
    white = haar(torch.randn(64, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    covariance = torch.cov(white.permute(1, 0, 2, 3).flatten(1))
    assert torch.allclose(covariance, torch.eye(4), atol=0.02)


def test_first_channels_are_local_means():
    x = torch.arange(32.0).view(1, 2, 4, 4)
    assert torch.allclose(haar(x)[:, :2] / 2, torch.nn.functional.avg_pool2d(x, 2))
