"""Widths of intervals that hold a known share of voxels: measured on known heads, stored beside the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

LEVELS = (0.5, 0.8, 0.9, 0.95)
BEYOND = 1.35  # spacings and overlaps up to this factor outside of those measured still count as near


@dataclass(frozen=True)
class IntervalRow:
    """What was measured on slices of one kind.

    Attributes:
        thickness_mm: FWHM of the slices.
        spacing_mm: of their centres.
        factors: for each of :data:`LEVELS`, half the width of the interval that holds this share of the head's voxels,
            counted in predictive deviations of the samples.
        heads: what it was measured on, by name.
    """

    thickness_mm: float
    spacing_mm: float
    factors: tuple[float, ...]
    heads: tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """The interval from q05 to q95: the mean less and plus sqrt((k s)^2 + (z c)^2).

    Here s is the predictive deviation of the samples, c is the noise that the last exact replacement carries over from
    the scan, and z is the quantile of the normal distribution. The deviation that a prior tells of its mean has that
    noise in it: c is zero then.

    Attributes:
        level: share of the head's voxels that the interval is meant to hold.
        factor: k, in predictive deviations.
        calibrated: True for a factor that was measured on known heads, False for that of a normal distribution.
        reason: what the factor was measured on, or why there is no measured one.
    """

    level: float
    factor: float
    calibrated: bool
    reason: str


@dataclass(frozen=True)
class IntervalTable:
    """Factors of a prior used with one sampler.

    Attributes:
        weights: SHA-256 of the weights file they were measured with.
        settings: of the runs they were measured on, by name.
        samples: how many samples those runs had, 0 of a mean. It matters little: the predictive deviation corrects for
            it.
        rows: in the order of their spacing, all different.

    Raises:
        ValueError: without rows, or for two of one spacing.
    """

    weights: str
    settings: dict[str, str | float | bool]
    samples: int
    rows: tuple[IntervalRow, ...]

    def __post_init__(self) -> None:
        spacings = [row.spacing_mm for row in self.rows]
        if not spacings or spacings != sorted(set(spacings)):
            raise ValueError(f"rows must be of ascending spacings, not {spacings}")

    def reaches(self, thickness_mm: float, spacing_mm: float) -> bool:
        """Whether slices are within or close to what was measured: their spacing, and their thickness over it."""

        def near(value: float, measured: list[float]) -> bool:
            return min(measured) / BEYOND <= value <= max(measured) * BEYOND

        overlaps = [row.thickness_mm / row.spacing_mm for row in self.rows]
        spacings = [row.spacing_mm for row in self.rows]
        return near(spacing_mm, spacings) and near(thickness_mm / spacing_mm, overlaps)

    def factor(self, spacing_mm: float, level: float) -> float:
        """Factor of a level for slices ``spacing_mm`` apart, linear between rows, the outermost ones continued.

        Raises:
            ValueError: for a level that was not measured.
        """
        if level not in LEVELS:
            raise ValueError(f"no intervals of {level:g} were measured, but of {', '.join(map(str, LEVELS))}.")
        index = LEVELS.index(level)
        for before, after in zip(self.rows, self.rows[1:], strict=False):
            if spacing_mm < after.spacing_mm:
                share = max(0.0, (spacing_mm - before.spacing_mm) / (after.spacing_mm - before.spacing_mm))
                return before.factors[index] + share * (after.factors[index] - before.factors[index])
        return self.rows[-1].factors[index]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        rows = ",\n  ".join(json.dumps(asdict(row)) for row in self.rows)
        head = {key: value for key, value in asdict(self).items() if key != "rows"}
        settings = json.dumps({"levels": LEVELS, **head})
        path.write_text(f'{settings[:-1]}, "rows": [\n  {rows}\n]}}\n')

    @classmethod
    def load(cls, path: Path) -> IntervalTable:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: if it is something else.
        """
        try:
            content = json.loads(path.read_text())
            if tuple(content.pop("levels")) != LEVELS:
                raise ValueError("its levels are others")
            rows = [
                IntervalRow(row["thickness_mm"], row["spacing_mm"], tuple(row["factors"]), tuple(row["heads"]))
                for row in content.pop("rows")
            ]
            if any(len(row.factors) != len(LEVELS) for row in rows):
                raise ValueError("factors are missing")
            return cls(rows=ordered(rows), **content)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def ordered(rows: Sequence[IntervalRow]) -> tuple[IntervalRow, ...]:
    """By spacing."""
    return tuple(sorted(rows, key=lambda row: row.spacing_mm))
