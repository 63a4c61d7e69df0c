"""Sections of docs/results.md: what each shows, the command that measured it, and how its rows become lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt

import results_scan_tables as scan_tables
import results_tables as tables
from results_figures import baselines_figure, reliability_figure


@dataclass(frozen=True)
class Section:
    """A heading, the file it is made of, how that was made, what is to be seen, and how rows become lines."""

    title: str
    file: str
    command: str
    text: str
    table: Callable[[tables.Rows], list[str]]
    draw: Callable[[tables.Rows], plt.Figure] | None = None

    @property
    def picture(self) -> str:
        """The file of what ``draw`` makes of the same rows."""
        return str(Path(self.file).with_suffix(".png"))


METHODS = (
    '    --run "B-spline: method=spline" --run "B-spline + replacement: method=replaced"\n'
    '    --run "total variation: method=total_variation" --run "self-SR: method=self_super_resolution"\n'
    '    --run "FOCVS: quality=samples samples=2" --output docs/results'
)
SECTIONS = (
    Section(
        "Quality",
        "quality.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.01 --seeds 0 1 2\n"
        "    --slices 3:3 4:4 4:5.2 5:6.5 6:6 8:8 --box 32 --csv docs/results/quality.csv\n"
        '    --run "FOCVS: quality=samples samples=2"',
        "The middle 32 voxels from left to right, scans with 1 % noise, mean and standard deviation over three seeds.",
        tables.methods_table,
    ),
    Section(
        "A whole head",
        "whole.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz --slices 4:4 --csv docs/results/whole.csv\n"
        '    --run "FOCVS: quality=samples"',
        "All default settings (four samples), no added noise.",
        tables.methods_table,
    ),
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
    Section(
        "Methods without a prior, and other rules",
        "baselines.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.01\n"
        "    --slices 3:3 4:4 4:5.2 5:6.5 6:6 8:8 --box 32 --csv docs/results/baselines.csv\n"
        '    --run "nearest: method=nearest" --run "linear: method=linear" --run "A^+ y: method=pseudo_inverse"\n'
        '    --run "total variation: method=total_variation" --run "self-SR: method=self_super_resolution"\n'
        '    --run "implicit: method=implicit_representation" --run "FOCVS: quality=samples samples=2"\n'
        '    --run "DDNM: quality=samples samples=2 consistency=ddnm sampler=ddpm steps=12"\n'
        '    --run "DDRM: quality=samples samples=2 consistency=ddrm sampler=ddpm steps=12"\n'
        '    --run "DiffPIR: quality=samples samples=2 consistency=diffpir sampler=ddim steps=12"\n'
        '    --run "DPS: quality=samples samples=2 consistency=none sampler=dps steps=12"',
        "One scan each with 1 % noise, scored in the middle 32 voxels from left to right. Self-super-resolution learns "
        "from the whole scan and restores it; the others restore the middle alone. The rules of the literature have "
        "the prior of FOCVS and as many evaluations of it, 12 a sample. "
        "Where slices are thin, what a network learns on the scan itself may be worth more than what the prior knows "
        "of other heads; `adapt=true` joins both ([results](#the-prior-adapted-to-the-scan)).",
        tables.ranked_table,
        baselines_figure,
    ),
    Section(
        "Priors",
        "priors.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.01 --seeds 0 1 2\n"
        "    --slices 3:3 4:4 4:5.2 5:6.5 6:6 8:8 --box 32 --csv docs/results/priors.csv\n"
        '    --run "first version: prior.path=FIRST sampler.sigma_end=0.02 sampler.temperature=1"\n'
        '    --run "head2d:" -- quality=samples samples=2',
        "The first version's prior (`git show 0ed85d7~1:checkpoints/head2d/FILE` for its three files; unconditional, "
        "slices alone) with the settings it was made for, and the shipped one. Scans with 1 % noise, the middle 32 "
        "voxels from left to right, mean and standard deviation over three seeds.",
        tables.methods_table,
    ),
    Section(
        "The prior adapted to the scan",
        "adapted.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.01 --seeds 0 1 2\n"
        "    --slices 4:4 4:5.2 6:6 8:8 --box 32 --csv docs/results/adapted.csv\n"
        '    --run "FOCVS: quality=samples samples=2" --run "adapted: quality=samples samples=2 adapt=true"\n'
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.01\n"
        "    --slices 3:3 5:6.5 --box 32 --csv docs/results/adapted.csv\n"
        '    --run "FOCVS: quality=samples samples=2" --run "adapted: quality=samples samples=2 adapt=true"',
        "The shipped prior fine-tuned on the whole scan's own slices first (300 steps). Mean and standard deviation "
        "over three seeds of the noise; of 3 mm and of 5 mm every 6.5 one scan each.",
        tables.adaptation_table,
    ),
    Section(
        "Adaptation, on heads kept out of training",
        "adaptation.csv",
        "python scripts/benchmark_quality.py $TRAIN/isotropic/uih2_T1w.nii.gz\n"
        "    $TRAIN/isotropic_stripped/ms26_FLAIR.nii.gz --noise 0.01 --slices 3:3 4:4 6:6 --box 32\n"
        '    --csv docs/results/adaptation.csv --run "FOCVS: quality=samples samples=2"\n'
        '    --run "adapted: quality=samples samples=2 adapt=true"',
        "Whether `adapt=true` should be on by default was decided on these two heads, kept out of training for such "
        "choices.",
        tables.adaptation_table,
    ),
    Section(
        "Three stages",
        "three_stage.csv",
        "python scripts/three_stage.py $TRAIN/isotropic/uih2_T1w.nii.gz runs/three --steps 600 --decay 200 --box 32\n"
        "    --csv docs/results/three_stage.csv -- quality=samples samples=2",
        "Generic pre-training on synthetic images, fine-tuning on MRI, self-supervision on the scan itself "
        "(`scripts/three_stage.py`): each alone, and one after the other. Each of the first two stages is 600 steps "
        "of 12 patches, about 20 minutes on one core, a small fraction of what the shipped prior had; the third 300 "
        "steps of 8. uih2 is kept out of all of them. Without any of them there is B-spline + replacement, which none "
        "of these short trainings reaches. The file was made from the lines the script printed, before it wrote one; "
        "by self-supervision alone the learning rate was 1e-3, as it starts from random weights.",
        tables.methods_table,
    ),
    Section(
        "The last exact replacement of noisy scans",
        "exact.csv",
        "python scripts/benchmark_quality.py $TRAIN/isotropic_stripped/ms26_FLAIR.nii.gz --slices 4:4 --noise NOISE\n"
        '    --box 32 --csv docs/results/exact.csv --run "exact: quality=samples samples=2 final_replacement=true"\n'
        '    --run "not exact: quality=samples samples=2 final_replacement=false rician_bias=off"',
        "From which noise on `final_replacement=auto` leaves the last exact replacement out, 4 %, rests on this "
        "head, kept out of training for such choices; NOISE is 0.025 and 0.05, Gaussian.",
        tables.noise_table,
    ),
    Section(
        "Denoising",
        "denoising.csv",
        "python scripts/benchmark_denoising.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --slices 4:4\n"
        '    --priors "first version=FIRST" head2d=checkpoints/head2d\n'
        '    "2D, 15 minutes=runs/volumes/base/run/ema"\n'
        '    "3D, 15 minutes=runs/volumes/blocks/run/ema" --csv docs/results/denoising.csv',
        "Root mean square error inside the head, in prior units (a head spans -1 to 1), of slices with white noise of "
        "the sigma named: a prior's own error, before any restoration. The scan that priors are told of has 4 mm "
        "slices and no noise; the last column is the mean over the levels. FIRST is as [above](#priors), the two of "
        "15 minutes are those of the [next section](#a-3d-prior-beside-the-2d-one).",
        tables.denoising_table,
    ),
    Section(
        "A 3D prior beside the 2D one",
        "volumes.csv",
        "python scripts/study.py architecture $TRAIN/isotropic/uih2_T1w.nii.gz\n"
        "    $TRAIN/isotropic_stripped/ms26_FLAIR.nii.gz runs/volumes --minutes 15 --jobs 2\n"
        '    --only base "blocks of volumes"\n'
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.01\n"
        "    --slices 3:3 4:4 4:5.2 5:6.5 6:6 8:8 --box 32 --csv docs/results/volumes.csv\n"
        '    --run "2D, 15 minutes: quality=samples samples=2 prior.path=runs/volumes/base/run/ema"\n'
        '    --run "3D, 15 minutes: quality=samples samples=2 prior=head3d prior.path=runs/volumes/blocks/run/ema"',
        "Both trained from random weights for 15 minutes on one core: 682 steps of 12 slabs of five slices of 96 x 96, "
        "and 634 steps of 2 blocks of 48 voxels. Denoising heads that were kept out, slices of 4 and 6 mm, the 3D "
        "prior is behind by 0.21 dB (uih2) and 0.24 dB (ms26). Restoring, it is behind everywhere, by 0.00 to 0.39 dB, "
        "at about three times the seconds beside other work. One scan each, 1 % noise, the middle 32 voxels. Neither "
        "reaches B-spline + replacement so soon.",
        tables.methods_table,
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
        "focvs glioma_FLAIR.nii.gz out/ quality=samples samples=1 steps=4\n"
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
        "Uncertainty",
        "uncertainty.csv",
        "python scripts/benchmark_uncertainty.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --slices 4:4 6:6\n"
        "    --box 24 --samples 8 --first 2 4 8 --keep runs/uncertainty --csv docs/results/uncertainty.csv\n"
        "the same with --slices 4:5.2 --first 8, and with --slices 4:4 6:6 --first 8 --noise 0.01",
        "The middle 24 voxels from left to right, two, four and eight samples; noise as a fraction of the 99.5th "
        "percentile. Per cent of the head's voxels that intervals hold: before, Student's t of the samples' own "
        "deviation; after, as `focvs` writes its 90 % interval: factors measured on two other heads without noise, "
        "and what the last exact replacement takes over of the scan's noise. The scale is that of the 90 % factor "
        "against a normal distribution's. CRPS as a fraction of the 99.5th percentile, of the samples before and of a "
        "normal distribution after; rank correlation (Spearman) of the predictive deviation with the absolute error. "
        "With eight samples it reaches 0.4, the aim, but not of FLAIR slices of 6 mm and not with noise, and with two "
        "it does not at all: where the samples agree on detail that is not there, nothing tells. The factors were "
        "measured without gaps and noise, and hold with them as well.",
        tables.uncertainty_table,
        reliability_figure,
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
