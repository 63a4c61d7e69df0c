"""From sampled voxels in the head's box to a volume as it is written."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.interpolation import spline_matrix
from focvs.reconstruction.case import Case
from focvs.reconstruction.reconciliation import Reconciliation
from focvs.reconstruction.voxels import blank_voxels, hold, keep_positive


class Finishing:
    """Intensities, the interpolated scan outside the head's box, blank voxels, and the last exact replacement.

    Args:
        case: the scan that was restored.
        exact: whether the last exact replacement is made; of several stacks it is that of all.
        nonnegative: as :func:`focvs.reconstruction.voxels.keep_positive` takes it.
    """

    def __init__(self, case: Case, exact: bool, nonnegative: bool | str = "auto"):
        self.case, self.exact, self.nonnegative = case, exact, nonnegative
        self.blank = blank_voxels(torch.from_numpy(case.scan.data), case.acquisition.grid)
        self.together = None
        if case.stacks and exact:
            positive = nonnegative is not False and bool(case.scan.data.min() >= 0)
            self.together = Reconciliation(case.stacks, case.scan, case.acquisition, positive)

    @property
    def sampled(self) -> np.ndarray:
        """``(P, Q, n)`` boolean, voxels in the head's box that are not blank."""
        inside = torch.zeros_like(self.blank)
        inside[self.case.slices.region.crop] = True
        return (inside & ~self.blank).numpy()

    def deviation(self, volume: Tensor) -> np.ndarray:
        """A standard deviation ``(p, q, n)`` in prior units to ``(P, Q, n)`` intensities, 0 outside of the box."""
        slices = self.case.slices
        whole = torch.zeros_like(self.blank, dtype=torch.float32)
        whole[slices.region.crop] = volume * slices.units.noise_from_prior(1.0)
        whole[self.blank] = 0
        return whole.numpy()

    def __call__(self, volume: Tensor) -> np.ndarray:
        """``(p, q, n)`` of the head's box in prior units to ``(P, Q, n)`` intensities of the whole field of view."""
        scan, acquisition, slices = self.case.scan, self.case.acquisition, self.case.slices
        whole = torch.from_numpy(scan.data) @ spline_matrix(acquisition.grid, margins=False).float().T
        whole[slices.region.crop] = slices.units.from_prior(volume)
        whole[self.blank] = 0
        if self.exact:
            hold(whole, scan, acquisition)
            if self.together:
                self.together(whole, self.blank)
        keep_positive(whole, scan, acquisition, self.exact, self.nonnegative)
        return whole.numpy()
