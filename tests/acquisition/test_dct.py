import math

import pytest
import torch

from focvs.acquisition.dct import dct_matrix


@pytest.mark.parametrize("n", [1, 7, 32])
def test_dct_matrix_is_orthonormal_and_starts_with_the_mean(n):
    matrix = dct_matrix(n)
    assert torch.allclose(matrix @ matrix.T, torch.eye(n).double(), atol=1e-12)
    assert torch.allclose(matrix[0], torch.full((n,), 1 / math.sqrt(n)).double(), atol=1e-12)
