import numpy as np
import torch

from stacked import SHAPE, sideways


def test_slices_of_the_same_voxels_are_those_of_the_through_plane_operator():
    stack = sideways()
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns = x.movedim(0, -1)
    margin = stack.operator.grid.margin
    padded = torch.nn.functional.pad(columns, (margin, margin), mode="replicate")
    inner = slice(1, -1)  # slices that see nothing beyond the volume
    assert stack.covered[..., inner].all() and not stack.covered[..., 0].any()
    assert torch.allclose(stack(x)[..., inner], stack.operator(padded)[..., inner], atol=1e-10)


def test_pixels_coarser_than_voxels_are_averages():
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fine, coarse = sideways()(x), sideways(fine=(2, 3))(x)
    assert torch.allclose(coarse, fine.unflatten(0, (4, 2)).unflatten(2, (5, 3)).mean((1, 3)), atol=1e-10)


def test_slices_beside_the_volume_do_not_count():
    shifted = np.eye(4)
    shifted[0, 3] = 7.0
    stack = sideways(turned=shifted)
    assert not stack.covered[..., -2:].any()
    x = torch.randn(SHAPE, dtype=torch.float64)
    assert not stack.residual(x, torch.full((*SHAPE[1:], 4), 9.0, dtype=torch.float64))[..., -2:].any()
