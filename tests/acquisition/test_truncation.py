"""K-space that was cut off: what a Fourier transform says of it, and the same field of view."""

import math

import numpy as np
import pytest
import torch

from focvs.acquisition.truncation import KSpaceTruncation


@pytest.mark.parametrize(("n", "factor"), [(24, 2), (24, 4), (20, 4), (18, 2), (15, 3)])
def test_it_keeps_the_low_frequencies_of_a_fourier_transform(n, factor):
    """Against numpy: crop the spectrum, move by the distance of the first centres, transform back."""
    volume = np.random.default_rng(0).standard_normal(n)
    m = n // factor
    spectrum = np.fft.fft(volume)
    kept = np.zeros(m, complex)
    shift = (factor - 1) / 2  # in thin voxels
    for k in range(-((m - 1) // 2), (m - 1) // 2 + 1):
        kept[k % m] = spectrum[k % n] * np.exp(2j * np.pi * k * shift / n)
    if m % 2 == 0:  # the real part of the frequency that has no partner
        k = m // 2
        places = np.exp(2j * np.pi * k * (np.arange(m) * factor + shift) / n) * spectrum[k]
        nyquist = places.real / n
    else:
        nyquist = np.zeros(m)
    expected = np.fft.ifft(kept).real * m / n + nyquist
    operator = KSpaceTruncation((1, 1, n), (1, 1, factor))
    found = operator(torch.from_numpy(volume)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_field_of_view_is_kept():
    """A blob stays where it is: its centre of mass, in voxels of both sizes, is one place."""
    places = torch.arange(32, dtype=torch.float64)
    blob = torch.exp(-0.5 * ((places - 13.3) / 4) ** 2)
    coarse = KSpaceTruncation((1, 1, 32), (1, 1, 4))(blob[None, None])[0, 0]
    centre = (coarse * (4 * torch.arange(8) + 1.5)).sum() / coarse.sum()
    assert float(centre) == pytest.approx(13.3, abs=0.02)


def test_waves_below_the_cut_are_kept_and_those_above_vanish():
    operator = KSpaceTruncation((16, 24, 2), (2, 4, 1))
    i, j = torch.meshgrid(torch.arange(16.0).double(), torch.arange(24.0).double(), indexing="ij")

    def wave(k, m):
        return torch.cos(2 * math.pi * (k * (i + 0.5) / 16 + m * (j + 0.5) / 24))[..., None].expand(16, 24, 2)

    low = wave(3, 2)
    assert torch.allclose(operator.pseudo_inverse(operator(low)), low, atol=1e-10)
    assert float(operator(wave(5, 1)).abs().max()) < 1e-12
    assert float(operator(wave(1, 4)).abs().max()) < 1e-12


def test_factors_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="15 voxels cannot be measured as voxels 2 times as large"):
        KSpaceTruncation((15, 4, 4), (2, 1, 1))
