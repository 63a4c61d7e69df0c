"""The denoiser's error spectrum s_t, as a table stored with a prior."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

CALIBRATION = "calibration.safetensors"  # its file


@dataclass(frozen=True, eq=False)
class ErrorTable:
    """Error variance of a denoiser per noise level and frequency.

    Attributes:
        sigmas: ``(levels,)`` ascending, prior units.
        variance: ``(levels, bins)`` at frequencies j / (2 bins) cycles per pixel, prior units squared.
        pixel_mm: pixel size of the images it was measured on.
    """

    sigmas: Tensor
    variance: Tensor
    pixel_mm: float

    def at(self, sigmas: Tensor, voxels: int, voxel_mm: float) -> Tensor:
        """Error variance ``(levels, voxels)`` float64 at the DCT frequencies of a column of ``voxels``.

        Linear in log variance over log sigma, and over frequency in cycles per mm; levels outside the table
        follow its ends, scaled by sigma squared.
        """
        log_table = self.variance.double().clamp_min(1e-12).log().numpy()
        wanted = sigmas.double().log().numpy()
        known = self.sigmas.double().log().numpy()
        inside = np.clip(wanted, known[0], known[-1])
        per_level = np.stack([np.interp(inside, known, column) for column in log_table.T], axis=1)
        per_level += 2 * (wanted - inside)[:, None]
        frequency_mm = np.arange(voxels) / (2 * voxels * voxel_mm)
        bins = np.arange(log_table.shape[1]) / (2 * log_table.shape[1] * self.pixel_mm)
        rows = np.stack([np.interp(frequency_mm, bins, row) for row in per_level])
        return torch.from_numpy(np.exp(rows))

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        tensors = {"sigmas": self.sigmas, "variance": self.variance, "pixel_mm": torch.tensor(self.pixel_mm)}
        save_file({k: v.to(torch.float32).contiguous() for k, v in tensors.items()}, path)
        path.chmod(0o644)  # safetensors writes files that only their owner can read

    @classmethod
    def load(cls, path: Path) -> ErrorTable:
        """Read what :meth:`save` wrote."""
        tensors = load_file(path)
        return cls(tensors["sigmas"].double(), tensors["variance"].double(), float(tensors["pixel_mm"]))


def is_table(path: Path) -> bool:
    """Whether a file is a table that :meth:`ErrorTable.save` wrote, and not weights."""
    try:
        with safe_open(path, "pt") as content:
            return set(content.keys()) == {"sigmas", "variance", "pixel_mm"}
    except SafetensorError:
        return False
