import numpy as np
import torch

from focvs.reconstruction.finishing import Finishing


def test_outside_the_box_it_is_the_spline_and_inside_what_was_sampled(posed):
    case, _ = posed
    grid, crop = case.acquisition.grid, case.slices.region.crop
    volume = torch.randn(*case.start.shape[:2], grid.voxels, generator=torch.Generator().manual_seed(0))
    loose = Finishing(case, exact=False, nonnegative=False)(volume)
    assert loose.shape == (*case.scan.data.shape[:2], grid.voxels)
    assert np.allclose(loose[crop], case.slices.units.from_prior(volume).numpy(), atol=1e-2)


def test_the_last_replacement_makes_it_exact(posed):
    case, _ = posed
    volume = torch.randn(
        *case.start.shape[:2], case.acquisition.grid.voxels, generator=torch.Generator().manual_seed(0)
    )
    whole = Finishing(case, exact=True)(volume)
    seen = case.acquisition.written(torch.from_numpy(whole).double()).numpy()
    assert np.abs(seen - case.scan.data).max() < 1e-5 * np.ptp(case.scan.data)
