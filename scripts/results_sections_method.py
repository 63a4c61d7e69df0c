"""Sections of docs/results.md about whole restorations: quality, baselines, tissues, lesions, peers."""

from __future__ import annotations

import results_tables as tables
from results_figures import baselines_figure
from results_section import Section

METHODS = (
    '    --run "B-spline: method=spline" --run "B-spline + replacement: method=replaced"\n'
    '    --run "total variation: method=total_variation" --run "self-SR: method=self_super_resolution"\n'
    '    --run "FOCVS:" --run "head2d: quality=samples samples=2" --output docs/results'
)

SECTIONS = (
    Section(
        "Quality",
        "quality.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.01 --seeds 0 1 2\n"
        "    --slices 3:3 4:4 4:5.2 5:6.5 6:6 8:8 --box 32 --csv docs/results/quality.csv\n"
        '    --run "FOCVS:" --run "head2d: quality=samples samples=2"',
        "The middle 32 voxels from left to right, scans with 1 % noise, mean and standard deviation over three seeds.",
        tables.methods_table,
    ),
    Section(
        "A whole head",
        "whole.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz --slices 4:4 --csv docs/results/whole.csv\n"
        '    --run "FOCVS:" --run "head2d: quality=samples"',
        "All default settings (four samples of head2d), no added noise.",
        tables.methods_table,
    ),
    Section(
        "Methods without a prior, and other rules",
        "baselines.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.01\n"
        "    --slices 3:3 4:4 4:5.2 5:6.5 6:6 8:8 --box 32 --csv docs/results/baselines.csv\n"
        '    --run "nearest: method=nearest" --run "linear: method=linear" --run "A^+ y: method=pseudo_inverse"\n'
        '    --run "total variation: method=total_variation" --run "self-SR: method=self_super_resolution"\n'
        '    --run "implicit: method=implicit_representation" --run "FOCVS:"\n'
        '    --run "head2d: quality=samples samples=2"\n'
        '    --run "DDNM: quality=samples samples=2 consistency=ddnm sampler=ddpm steps=12"\n'
        '    --run "DDRM: quality=samples samples=2 consistency=ddrm sampler=ddpm steps=12"\n'
        '    --run "DiffPIR: quality=samples samples=2 consistency=diffpir sampler=ddim steps=12"\n'
        '    --run "DPS: quality=samples samples=2 consistency=none sampler=dps steps=12"',
        "One scan each with 1 % noise, scored in the middle 32 voxels from left to right. Self-super-resolution learns "
        "from the whole scan and restores it; the others restore the middle alone. The rules of the literature have "
        "the prior head2d and as many evaluations of it, 12 a sample.",
        tables.ranked_table,
        baselines_figure,
    ),
    Section(
        "Classes of intensity",
        "tissues.csv",
        "python scripts/benchmark_downstream.py $EVAL/adi_T1w.nii.gz --slices 4:4 6:6 --noise 0.01 --box 64\n"
        f"    --tissues 3\n{METHODS}",
        "Truth and estimates segmented alike, by a Gaussian mixture with a Markov random field, from the darkest class "
        "to the brightest: Dice with the truth's own classes, and the error of the volume. Scans with 1 % noise, the "
        "middle 64 voxels from left to right, scalp and fat among the classes.",
        tables.tissues_table,
    ),
    Section(
        "Lesions",
        "lesions.csv",
        "python scripts/benchmark_downstream.py ms26_FLAIR.nii.gz --slices 4:4 6:6 --noise 0.01 --lesions bright\n"
        f"    --lesions-above 1.3\n{METHODS}\n"
        "the same of $EVAL/ms07_FLAIR.nii.gz with --slices 4:4",
        "A FLAIR kept out of training for choices between settings, with multiple sclerosis; that of `$EVAL` has "
        "hardly any lesion to see, two of a size that counts. Lesions found by a threshold in the truth, medians of "
        "each size: contrast against what is around them in the truth, how much of it is kept (1 = all), their volume "
        "kept, the part erased, and what was invented around them. Scans with 1 % noise.",
        tables.lesions_table,
    ),
    Section(
        "Lesions of real scans",
        "contrast.csv",
        "focvs glioma_FLAIR.nii.gz out/\n"
        "python scripts/lesion_contrast.py glioma_FLAIR.nii.gz out/glioma_FLAIR_focvs.nii.gz\n"
        "    --csv docs/results/contrast.csv\n"
        "the same of ms12_study1_FLAIR, glioma_T2w and glioma_T1wGd, and with --below 0.7 of glioma_T1w and\n"
        "    ms12_study1_T1W",
        "Bright and dark regions of a glioma (5.5 mm slices) and of multiple sclerosis (3 mm), found in the scan "
        "itself by thresholds in medians of the head; fluid is among those of T1w and T2w. Mean over that of what is "
        "around them, in the scan and at the same place in the result.",
        tables.contrast_table,
    ),
    Section(
        "Peers as they ship",
        "peers.csv",
        "python -m venv env && env/bin/pip install eclare\n"
        "python scripts/compare_peers.py $EVAL/ms07_FLAIR.nii.gz $EVAL/adi_T1w.nii.gz --slices 4:4 --box 32\n"
        "    --environment eclare=env --csv docs/results/peers.csv",
        "The residual is the largest deviation of the estimate's own slices from the scan, over the scan's range. "
        "ECLARE trains on every scan: its default is 1,000,000 patches in batches of 128, so that 400 steps of 8 do "
        "not say what it can do on a GPU.",
        tables.peers_table,
    ),
    Section(
        "Rules of the literature, ours and deepinv's",
        "deepinv.csv",
        "python scripts/compare_deepinv.py $EVAL/ms07_FLAIR.nii.gz --box 32 --csv docs/results/deepinv.csv",
        "4 mm slices with 1 % noise, the middle 32 voxels, the same prior, operator and number of evaluations of the "
        "network, one sample. deepinv divides the fresh noise of DDRM by sqrt(2), which the paper does not.",
        tables.deepinv_table,
    ),
)
