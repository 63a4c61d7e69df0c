"""What every forward operator offers, whatever it acts on; one battery of tests holds all of them to its laws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from focvs.acquisition.resident import resident


class LinearOperator(ABC):
    """A: a volume x to what was measured of it, y.

    Laws: <A x, y> = <x, A^T y>; A A^+ A = A where the pseudo-inverse is exact (see each operator); a constant volume
    gives the same constant.

    Attributes:
        by_columns: whether it acts on the last axis alone.
    """

    by_columns = False

    @abstractmethod
    def forward(self, volume: Tensor) -> Tensor:
        """A x, in the precision of ``volume``."""

    @abstractmethod
    def adjoint(self, measured: Tensor) -> Tensor:
        """A^T y."""

    @abstractmethod
    def pseudo_inverse(self, measured: Tensor) -> Tensor:
        """A^+ y, the volume of least norm that reproduces ``measured``, or nearly that."""

    def __call__(self, volume: Tensor) -> Tensor:
        return self.forward(volume)

    def spread(self, measured: Tensor) -> Tensor:
        """Every value on the voxels that it is of, by weights of A that are not negative: for local averages."""
        return self.adjoint(measured)

    def share(self, mask: Tensor) -> Tensor:
        """How much of what each value is of lies in a mask of 0 and 1."""
        return self.forward(mask)

    def residual(self, volume: Tensor, measured: Tensor) -> Tensor:
        """y - A x, where A knows what it would measure."""
        return measured - self.forward(volume)

    def replace(self, volume: Tensor, measured: Tensor) -> Tensor:
        """x + A^+ (y - A x): the nearest volume that reproduces ``measured``."""
        return volume + self.pseudo_inverse(self.residual(volume, measured))

    def null_space(self, volume: Tensor) -> Tensor:
        """(I - A^+ A) x: what the measurement says nothing about."""
        return volume - self.pseudo_inverse(self.forward(volume))


class MatrixOperator(LinearOperator):
    """A on the last axis as one small dense matrix, the same for every column: ``(..., n)`` to ``(..., m)``.

    Args:
        matrix: ``(m, n)`` float64.
    """

    by_columns = True

    def __init__(self, matrix: Tensor):
        self.matrix = matrix

    @cached_property
    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """``U (m, r), singular values (r,), V^T (r, n)``, float64."""
        return tuple(torch.linalg.svd(self.matrix, full_matrices=False))  # type: ignore[return-value]

    @cached_property
    def pseudo_inverse_matrix(self) -> Tensor:
        """A^+ ``(n, m)``, float64."""
        return torch.linalg.pinv(self.matrix)

    @property
    def condition_number(self) -> float:
        """Largest over smallest singular value."""
        values = self.svd[1]
        return float(values[0] / values[-1])

    def forward(self, volume: Tensor) -> Tensor:
        return volume @ resident(self.matrix, volume).T

    def adjoint(self, measured: Tensor) -> Tensor:
        return measured @ resident(self.matrix, measured)

    def spread(self, measured: Tensor) -> Tensor:
        return measured @ resident(self.matrix, measured).clamp(min=0)

    def pseudo_inverse(self, measured: Tensor) -> Tensor:
        return measured @ resident(self.pseudo_inverse_matrix, measured).T

    def kalman_gain(self, covariance: Tensor, noise_sigma: float | Tensor = 0.0) -> Tensor:
        """K = C A^T (A C A^T + sigma_y^2 I)^-1, ``(..., n, m)`` float64.

        Args:
            covariance: ``(..., n, n)`` assumed covariance C of the denoiser's error.
            noise_sigma: standard deviation of the measurement's noise, in the units of C's square root.
        """
        covariance = covariance.double()
        cross = covariance @ self.matrix.T
        normal = self.matrix @ cross
        noise = torch.as_tensor(noise_sigma, dtype=torch.float64) ** 2
        # a jitter of 1e-12 of the mean variance keeps a vanishing C (a perfect denoiser) solvable
        jitter = 1e-12 * normal.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] + 1e-300
        normal = normal + (noise + jitter) * torch.eye(normal.shape[-1], dtype=torch.float64)
        return torch.linalg.solve(normal, cross.mT).mT
