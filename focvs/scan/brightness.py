"""The brightness of slices, made even: of odd and even ones, and of each."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from focvs.errors import InputError
from focvs.scan.interleaving import odd_even_difference
from focvs.scan.pass_field import find_pass_field
from focvs.scan.scan import Scan
from focvs.scan.slice_gains import slice_gains

MOST_GAIN = 2.0  # that any slice may carry anywhere, all kinds together
BRIGHT = 0.15  # of the white level: head that is compared between slices
ODD_EVEN_SIGNIFICANCE, ODD_EVEN_DIFFERENCE = 3.0, 0.01  # standard errors, log ratio from which they differ


def balance_odd_even(scan: Scan, wanted: str) -> Scan:
    """Divide out the difference in brightness of odd and even slices, where there clearly is one.

    Args:
        scan: as read.
        wanted: ``auto`` or ``off``.

    Raises:
        InputError: for another word.
    """
    if wanted not in ("auto", "off"):
        raise InputError(f"slice_gains={wanted} is not known; choose auto or off.")
    found = odd_even_difference(torch.from_numpy(scan.data), bright_head(scan)) if wanted == "auto" else None
    if found is None or found.significance < ODD_EVEN_SIGNIFICANCE or abs(found.log_ratio) < ODD_EVEN_DIFFERENCE:
        return scan
    if abs(found.log_ratio) > math.log(MOST_GAIN):
        return too_uneven(scan, math.exp(abs(found.log_ratio)))
    return divide_out(
        scan,
        found.gains(scan.data.shape[-1]),
        f"every second slice is {100 * abs(math.expm1(found.log_ratio)):.1f} % "
        f"{'brighter' if found.log_ratio > 0 else 'darker'} than the others (interleaved acquisition, "
        f"{found.significance:.1f} standard errors): that was divided out; slice_gains=off leaves it in.",
    )


def balance_slices(scan: Scan, wanted: str) -> Scan:
    """Divide out gains of odd and even slices, of single slices, and a field of passes, where they clearly differ.

    Args:
        scan: as read.
        wanted: ``auto`` or ``off``.

    Raises:
        InputError: for another word.
    """
    return even_passes(_balance_each(balance_odd_even(scan, wanted), wanted), wanted)


def _balance_each(scan: Scan, wanted: str) -> Scan:
    """Divide out gains of single slices, where they clearly differ all through the scan."""
    found = slice_gains(torch.from_numpy(scan.data), bright_head(scan), scan.spacing_mm) if wanted == "auto" else None
    if found is None or not found.clear:
        return scan
    return divide_out(
        scan,
        found.log_gains.exp(),
        f"slices differ by {100 * found.spread:.2g} % in brightness from what the others say, where anatomy would by "
        f"{100 * found.anatomy:.2g} %: that was divided out slice by slice; slice_gains=off leaves it in.",
    )


def largest_gain(gains: np.ndarray) -> float:
    """The largest factor of brightness, up or down."""
    return float(max(gains.max(), 1 / gains.min()))


def too_uneven(scan: Scan, largest: float) -> Scan:
    """The scan as it is, with a warning."""
    warning = (
        f"slices seem to differ by factors of up to {largest:.2g} in brightness, more than {MOST_GAIN:g}, which no "
        "scanner makes: they were left as they are."
    )
    return replace(scan, warnings=(*scan.warnings, warning))


def even_passes(scan: Scan, wanted: str) -> Scan:
    """Divide out a smooth field by which odd slices are brighter than even ones, where there clearly is one."""
    if wanted == "off":
        return scan
    found = find_pass_field(torch.from_numpy(scan.data), bright_head(scan), scan.in_plane_mm, scan.spacing_mm)
    if found is None or not found.clear:
        return scan
    size = float(found.log_ratio[bright_head(scan)].square().mean().sqrt())
    warning = (
        f"odd and even slices differ by {100 * size:.2g} % in brightness from place to place (interleaved "
        f"acquisition, {found.evidence:.1f} times what chance explains): that was divided out; "
        "slice_gains=off leaves it in."
    )
    field = found.gains().numpy()
    if (largest := largest_gain(field if scan.gains is None else field * scan.gains)) > MOST_GAIN:
        return too_uneven(scan, largest)
    data = (scan.data / field).astype(np.float32)
    return replace(scan, data=data, pass_field=found.coefficients.numpy(), warnings=(*scan.warnings, warning))


def divide_out(scan: Scan, factors: Tensor, warning: str) -> Scan:
    """The scan divided by the ``(m,)`` gains of its slices, which are recorded with those divided out before.

    It is left as it is where gains, those divided out before included, are beyond :data:`MOST_GAIN`.
    """
    gains = factors.numpy()
    together = gains if scan.gains is None else scan.gains * gains
    if (largest := largest_gain(together)) > MOST_GAIN:
        return too_uneven(scan, largest)
    data = (scan.data / gains).astype(np.float32)
    return replace(scan, data=data, gains=together, warnings=(*scan.warnings, warning))


def bright_head(scan: Scan) -> Tensor:
    """``(p, q, m)`` boolean, head that is well above the noise."""
    return torch.from_numpy(scan.head & (scan.data > BRIGHT * scan.units.white))
