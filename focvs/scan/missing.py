"""Slices that were not measured: empty ones inside the head, and those that the user leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from focvs.errors import InputError
from focvs.scan.scan import MINIMUM_SLICES, Scan

MOST_MISSING = 1 / 3  # of the slices
TISSUE = 0.1  # of the white level, above which it is
MOST_DROPPED = 0.5  # of the head that both neighbours show, without a value in a slice
LEAST_HEAD = 0.1  # of the largest slice, that both neighbours of a missing one must show


def find_missing(scan: Scan, excluded: Sequence[int] = ()) -> Scan:
    """The scan with its missing slices named and filled with its neighbours, linearly; they are no part of A.

    Missing is a slice that is the same everywhere, or has the lowest value of the scan (zero, or NaN as it was read) in
    most of the head that its neighbours show, between two that show head.

    Args:
        scan: as read.
        excluded: further slices to leave out, counted from 0.

    Raises:
        InputError: for slices that there are not, or too few that are left.
    """
    count = scan.data.shape[-1]
    for number in excluded:
        if not 0 <= number < count:
            raise InputError(f"exclude={number}: {scan.path.name} has the slices 0 to {count - 1}.")
    flat = scan.data.reshape(-1, count)
    shown = (flat > TISSUE * np.percentile(flat, 99.5)).sum(0)
    constant = flat.min(0) == flat.max(0)
    if constant.all():
        raise InputError(f"{scan.path} is the same everywhere within each slice: there is no head in it.")
    empty = constant | _dropped(flat, shown)
    head = np.flatnonzero(~empty & (shown > LEAST_HEAD * shown[~empty].max()))
    inside = {int(k) for k in np.flatnonzero(empty) if len(head) and head[0] < k < head[-1]}
    missing = tuple(sorted(inside | set(excluded)))
    if not missing:
        return scan
    if count - len(missing) < MINIMUM_SLICES or len(missing) > MOST_MISSING * count:
        raise InputError(
            f"{scan.path} has {count} slices, of which {len(missing)} are empty or left out; at least {MINIMUM_SLICES} "
            "and two thirds must be measured."
        )
    warnings = list(scan.warnings)
    for names, what in ((sorted(inside), "empty inside the head"), (sorted(set(excluded) - inside), "left out")):
        if names:
            one = len(names) == 1
            warnings.append(
                f"slice{'' if one else 's'} {', '.join(map(str, names))} (from 0) {'is' if one else 'are'} {what}: "
                "taken as not measured and filled by the prior, where the uncertainty is larger than the maps say."
            )
    return fill_missing(replace(scan, missing=missing, warnings=tuple(warnings)))


def _dropped(flat: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Slices of ``(pixels, slices)`` that hold nothing where both slices beside them hold tissue."""
    tissue, nothing = flat > TISSUE * np.percentile(flat, 99.5), flat == flat.min()
    dropped = np.zeros(flat.shape[1], dtype=bool)
    for k in range(1, flat.shape[1] - 1):
        both = tissue[:, k - 1] & tissue[:, k + 1]
        if both.sum() > LEAST_HEAD * shown.max():
            dropped[k] = nothing[both, k].mean() > MOST_DROPPED
    return dropped


def fill_missing(scan: Scan) -> Scan:
    """The scan with its missing slices interpolated between those beside them."""
    if not scan.missing:
        return scan
    measured = np.setdiff1d(np.arange(scan.data.shape[-1]), scan.missing)
    data = scan.data.copy()
    for k in scan.missing:
        after = int(np.searchsorted(measured, k))
        low, high = measured[max(after - 1, 0)], measured[min(after, len(measured) - 1)]
        share = 0.0 if low == high else (k - low) / (high - low)
        data[..., k] = (1 - share) * data[..., low] + share * data[..., high]
    return replace(scan, data=data)
