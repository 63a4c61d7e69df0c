"""Sections of docs/results.md about what is known of a scan: thickness, profile, brightness, noise, stacks."""

from __future__ import annotations

import results_scan_tables as scan_tables
import results_tables as tables
from results_section import Section

SECTIONS = (
    Section(
        "Knowing the slice thickness",
        "thickness.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --box 32\n"
        "    --slices 4:4 4:5.2 5:6.5 6:6 --csv docs/results/thickness.csv\n"
        '    --run "true: quality=samples samples=2" --run "estimated: quality=samples samples=2 thickness=estimate"\n'
        '    --run "header: quality=samples samples=2 thickness={spacing}"',
        "The same scan restored with its true thickness, with what `thickness=estimate` finds, and with what a header "
        "without it suggests, the spacing.",
        tables.thickness_table,
    ),
    Section(
        "The slice profile from the scan",
        "profile.csv",
        "python scripts/benchmark_profile.py $EVAL/*.nii.gz $TRAIN/isotropic*/*.nii.gz --csv docs/results/profile.csv",
        "Widths (FWHM) found in scans of 15 heads with 1 % noise, by shape, thickness and spacing of their slices: "
        "median absolute error, how often the 95 % interval holds the truth, and how many scans had an answer. How "
        "isotropic heads are was measured on the 13 of `$TRAIN`, so that the last line is the independent one. Gaps "
        "and sharp edges leave little of the profile's spectrum below the Nyquist frequency of the slices, and 2 mm "
        "slices are hardly thicker than pixels: there errors are above 10 %, and so are those of a shape taken for "
        "another. The adversarial estimator is `focvs profile method=adversarial`.",
        scan_tables.profile_table,
    ),
    Section(
        "Slices of uneven brightness",
        "gains.csv",
        "python scripts/benchmark_gains.py $EVAL/*.nii.gz $TRAIN/isotropic*/*.nii.gz --csv docs/results/gains.csv",
        "Scans of 15 heads with 1 % noise whose slices were made brighter and darker (each at random, every second "
        "one, every second one by more in the middle of the scan, every third or fourth) and balanced as "
        "`slice_gains=auto` does. How far neighbouring slices differ in brightness that is not theirs, before and "
        "after: root mean square of the logarithms less their smooth course, of the slices that show head but three "
        "at both ends, median over scans. What counts as clear was first chosen "
        "with all 15 in view; the 13 of `$TRAIN` alone say the same.",
        scan_tables.gains_table,
    ),
    Section(
        "The noise of a scan",
        "noise.csv",
        "python scripts/benchmark_noise.py $EVAL/*.nii.gz $TRAIN/isotropic*/*.nii.gz --csv docs/results/noise.csv",
        "Noise of 0.5, 1, 2, 3 and 5 % of the 99.5th percentile, added to scans of 15 heads with 4 mm slices, found "
        "inside the head, which is what a run uses, and in the air around it, where that was kept.",
        scan_tables.noise_found_table,
    ),
    Section(
        "Noise of magnitudes",
        "rician.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.05 --rician\n"
        "    --slices 4:4 --box 32 --csv docs/results/rician.csv\n"
        '    --run "bias left in: quality=samples samples=2 rician_bias=off"\n'
        '    --run "bias taken off: quality=samples samples=2"\n'
        "the same with --noise 0.1",
        "What Rician noise adds to dark tissue, taken off before the scan is restored (`rician_bias=auto`) or not. "
        "Scans so noisy are not reproduced exactly.",
        tables.noise_table,
    ),
    Section(
        "Overlapping slices",
        "overlap.csv",
        "python scripts/benchmark_quality.py $EVAL/ms07_FLAIR.nii.gz --noise 0.01 --slices 5:2.5 --box 32\n"
        '    --csv docs/results/overlap.csv --run "FOCVS: quality=samples samples=2"',
        "5 mm slices every 2.5 mm with 1 % noise. One exact replacement, as everywhere on this page the column "
        "B-spline + replacement, amplifies the noise of such slices; FOCVS leaves it out.",
        tables.methods_table,
    ),
    Section(
        "Two stacks",
        "stacks.csv",
        "python scripts/benchmark_stacks.py $EVAL/adi_T1w.nii.gz --box 64 --move 2 --noise 0.01\n"
        "    --csv docs/results/stacks.csv -- quality=samples samples=2",
        "An axial and a sagittal stack of 4 mm slices with 1 % noise; between them the head was turned by 2 degrees "
        "about each axis and shifted by 2 mm along it, which was found by registration. The middle 64 voxels from "
        "left to right.",
        tables.stacks_table,
    ),
)
