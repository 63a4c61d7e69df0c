"""Slices that were not measured: empty ones inside the head, and those that the user leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from focvs.errors import InputError
from focvs.scan.scan import MINIMUM_SLICES, Scan

MOST_MISSING = 1 / 3  # of the slices


def find_missing(scan: Scan, excluded: Sequence[int] = ()) -> Scan:
    """The scan with its missing slices named and filled with its neighbours, linearly; they are no part of A.

    Missing is a slice that is the same everywhere (all zero, or it was all NaN) between two that are not.

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
    seen = np.flatnonzero(flat.min(0) != flat.max(0))
    empty = {k for k in range(int(seen[0]), int(seen[-1])) if k not in set(seen.tolist())}
    missing = tuple(sorted(empty | set(excluded)))
    if not missing:
        return scan
    if count - len(missing) < MINIMUM_SLICES or len(missing) > MOST_MISSING * count:
        raise InputError(
            f"{scan.path} has {count} slices, of which {len(missing)} are empty or left out; at least {MINIMUM_SLICES} "
            "and two thirds must be measured."
        )
    measured = np.setdiff1d(np.arange(count), missing)
    data = scan.data.copy()
    for k in missing:
        after = int(np.searchsorted(measured, k))
        low, high = measured[max(after - 1, 0)], measured[min(after, len(measured) - 1)]
        share = 0.0 if low == high else (k - low) / (high - low)
        data[..., k] = (1 - share) * data[..., low] + share * data[..., high]
    warnings = list(scan.warnings)
    for names, what in ((sorted(empty), "empty inside the head"), (sorted(set(excluded) - empty), "left out")):
        if names:
            one = len(names) == 1
            warnings.append(
                f"slice{'' if one else 's'} {', '.join(map(str, names))} (from 0) {'is' if one else 'are'} {what}: "
                "taken as not measured and filled by the prior, where the uncertainty is larger than the maps say."
            )
    return replace(scan, data=data, missing=missing, warnings=tuple(warnings))
