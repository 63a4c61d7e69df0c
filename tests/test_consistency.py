import math

import pytest
import torch

from focvs.acquisition.dct import dct_matrix
from focvs.sampling.noise_schedule import karras_sigmas


@pytest.mark.parametrize("n", [1, 7, 32])
def test_dct_matrix_is_orthonormal_and_starts_with_the_mean(n):
    matrix = dct_matrix(n)
    assert torch.allclose(matrix @ matrix.T, torch.eye(n).double(), atol=1e-12)
    assert torch.allclose(matrix[0], torch.full((n,), 1 / math.sqrt(n)).double(), atol=1e-12)


def test_karras_levels():
    sigmas = karras_sigmas(12, 0.8, 0.02)
    assert float(sigmas[0]) == pytest.approx(0.8)
    assert float(sigmas[-1]) == pytest.approx(0.02)
    assert torch.allclose((sigmas ** (1 / 7)).diff().diff(), torch.zeros(10).double(), atol=1e-12)
    assert karras_sigmas(1, 0.8, 0.02).tolist() == pytest.approx([0.8])
