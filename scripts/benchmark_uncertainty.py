r"""Do the intervals hold the truth? ``python scripts/benchmark_uncertainty.py TRUTH [TRUTH ...] [options]``.

Each thin-slice volume is degraded as in benchmark_quality.py and restored with all samples kept in ``--keep``, from
where they are taken the next time. Printed are, in the head mask: the fraction of voxels that the 50, 80, 90 and 95 %
intervals hold, before (Student's t of the samples' own deviation) and after (factors stored with the prior, of the
predictive deviation, and what the last exact replacement takes over of the scan's noise); CRPS of the samples and of a
normal distribution of the calibrated width, as a fraction of the 99.5th percentile; spread over skill; and the rank
correlation of the predictive deviation with the absolute error. ``--first 2 4 8`` judges the first 2, 4 and 8 samples.
``--measure`` writes the factors instead, found on volumes the prior was not judged by, without noise. Anything after
``--`` holds for every run.

    python scripts/benchmark_uncertainty.py uih2_T1w.nii.gz ms26_FLAIR.nii.gz --slices 4:4 6:6 8:8 \
        --keep runs/uncertainty --measure checkpoints/head2d/intervals.json
    python scripts/benchmark_uncertainty.py adi_T1w.nii.gz ms07_FLAIR.nii.gz --slices 4:4 6:6 --keep runs/uncertainty \
        --csv docs/results/uncertainty.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from benchmark_quality import degraded_box
from focvs import __version__
from focvs.commands.overrides import compose, quote, split_overrides
from focvs.evaluation import uncertainty
from focvs.files import write_csv
from focvs.pipeline import super_resolve
from focvs.priors.intervals import LEVELS, Interval, IntervalRow, IntervalTable, ordered
from focvs.reconstruction.bounds import choose_interval, interval_settings
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.setup import open_prior
from focvs.report.run_report import plain
from focvs.run_config import RunConfig
from focvs.sampling.statistics import half_width, normal_quantile, predictive_deviation, replaced_noise
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_last, read_nifti
from focvs.scan.scan import read_scan
from focvs.scan.units import white_level

# of a run: compared elsewhere (the prior by its hash), given by the case, or changing no sample
ELSEWHERE = ("scan", "output_dir", "voxel", "prior", "batch", "device", "figure", "progress")
CASE = ("truth", "slices", "noise", "samples")


def main() -> None:
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--slices", nargs="+", default=["4:4", "6:6"], help="thickness:spacing in mm")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument(
        "--first", nargs="+", type=int, help="judge only this many of the samples; several are a row each"
    )
    parser.add_argument("--noise", type=float, default=0.0, help="of the scan, fraction of the 99.5th percentile")
    parser.add_argument("--box", type=int, default=24, help="only this many middle voxels of the first axis; 0 = all")
    parser.add_argument("--keep", type=Path, required=True, help="folder of the samples")
    parser.add_argument("--measure", type=Path, help="write the factors to this file")
    parser.add_argument(
        "--csv", type=Path, help="add the rows to this file, in place of those of the same case or of another prior"
    )
    options = parser.parse_args(arguments)
    config: RunConfig = OmegaConf.to_object(compose("config", ["scan=none", "quality=samples", *overrides]))
    table = open_prior(config.prior, "cpu").intervals
    if table is None and not options.measure:
        parser.error("this prior has no intervals.json; give --measure to make it")
    if options.first and (options.measure or not all(2 <= count <= options.samples for count in options.first)):
        parser.error("--first takes numbers from 2 to that of --samples, and does not go with --measure")
    if options.measure and options.noise:
        parser.error("factors are measured on scans without noise: what noise adds is known; leave out --noise")

    rows, measured = [], []
    for slices in options.slices:
        thickness, spacing = map(float, slices.split(":"))
        errors, deviations = [], []
        for truth in options.truth:
            stem = image_stem(truth)
            folder = options.keep / f"{stem}_{thickness:g}_{spacing:g}_{options.samples}_{options.box}"
            folder = folder.with_name(f"{folder.name}_{options.noise:g}") if options.noise else folder
            restore(truth, slices, options, overrides, folder)
            for count in [options.samples] if options.measure else options.first or [options.samples]:
                samples, clean, deviation, noise, interval = read_head(folder, count, overrides)
                if options.measure:
                    errors.append(samples.mean(0) - clean)
                    deviations.append(deviation)
                    continue
                if not interval.calibrated:
                    parser.error(f"{stem}, {slices}: its interval is not a measured one, {interval.reason}")
                factors = [table.factor(spacing, level) for level in LEVELS]
                rows.append(dict(zip(CASE, (stem, slices, options.noise, count), strict=True)))
                rows[-1] |= {"prior": table.weights[:8]} | describe(samples, clean, deviation, noise, factors)
                shown = (f"{k}: {v:.3g}" if isinstance(v, float) else f"{k}: {v}" for k, v in rows[-1].items())
                print("  ".join(shown), flush=True)
        if options.measure:
            factors = uncertainty.factors_of(errors, deviations, LEVELS)
            heads = tuple(map(image_stem, options.truth))
            measured.append(IntervalRow(thickness, spacing, tuple(round(k, 3) for k in factors), heads))
            each = [uncertainty.coverage(e, factors[2] * d) for e, d in zip(errors, deviations, strict=True)]
            print(slices, "factors", factors, "90 % holds", dict(zip(heads, each, strict=True)), flush=True)
    if options.measure:
        settings = interval_settings(config, config.consistency.rule, config.final_replacement is not False)
        weights = open_prior(config.prior, "cpu").sha256
        IntervalTable(weights, settings, options.samples, ordered(measured)).save(options.measure)
        return
    if options.csv:
        kept = []
        if options.csv.is_file():
            with options.csv.open(newline="") as stream:
                cases = {tuple(str(row[key]) for key in CASE) for row in rows}
                of_prior = [row for row in csv.DictReader(stream) if row.get("prior") == table.weights[:8]]
                kept = [row for row in of_prior if tuple(row[key] for key in CASE) not in cases]
        fresh = [{k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
        write_csv(options.csv, [*kept, *fresh], list(rows[0]))


def restore(truth: Path, slices: str, options: argparse.Namespace, overrides: list[str], folder: Path) -> None:
    """Leave ``truth.nii.gz`` and every sample in the folder, unless they are there.

    Raises:
        SystemExit: if what is there was made with other settings or another prior.
    """
    words = [f"output_dir={quote(str(folder))}", "figure=false", "report=false", "quality=samples", "save_samples=true"]
    words.append(f"samples={options.samples}")
    report = folder / "scan_focvs.json"
    if report.is_file():
        config: RunConfig = OmegaConf.to_object(compose("config", ["scan=none", *words, *overrides]))
        made = json.loads(report.read_text())
        same = made["version"] == __version__ and agree(made["config"], plain(asdict(config)))
        if not same or made["prior"]["sha256"] != open_prior(config.prior, "cpu").sha256:
            raise SystemExit(f"{folder} holds samples of another prior, version or settings; give another --keep.")
        return
    scan, _, voxel = degraded_box(truth, slices, options.box, folder, options.noise)
    words += [f"scan={quote(str(scan.path))}", f"voxel={voxel}"]
    super_resolve(OmegaConf.to_object(compose("config", [*words, *overrides])))


def agree(made: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether samples were made as is wanted; settings that came later had their defaults then."""
    pairs = [(made[key], value) for key, value in wanted.items() if key in made and key not in ELSEWHERE]
    return all(agree(old, new) if isinstance(new, dict) else old == new for old, new in pairs)


def reach(deviation: np.ndarray, factor: float, noise: np.ndarray, level: float) -> np.ndarray:
    return half_width(torch.from_numpy(deviation), factor, torch.from_numpy(noise), level).numpy()


def read_head(
    folder: Path, count: int, overrides: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Interval]:
    """Samples ``(M, voxels)``, truth, predictive deviation and what the last replacement took over of the scan's noise
    ``(voxels,)`` in the head, 1 = the 99.5th percentile; and how q05 and q95 come about.
    """
    scan, report = read_scan(folder / "scan.nii.gz"), json.loads((folder / "scan_focvs.json").read_text())

    def read(name: str) -> np.ndarray:
        return axis_last(*read_nifti(folder / f"{name}.nii.gz")[:2], scan.file_axis)[0]

    truth = read("truth")
    scale = white_level(truth)
    mask = head_mask(truth, scale)
    samples = np.stack([read(f"scan_focvs-sample-{m:02d}") for m in range(1, count + 1)]) / scale
    deviation = predictive_deviation(torch.from_numpy(samples.std(0, ddof=1)), count).numpy()
    words = [f"scan={quote(str(scan.path))}", f"voxel={report['config']['voxel']}", "quality=samples", *overrides]
    config: RunConfig = OmegaConf.to_object(compose("config", words))
    acquisition = model_acquisition(scan, config)
    rule, exact = report["consistency"]["rule"], report["consistency"]["final_replacement"]
    noise = torch.zeros(1)
    if exact:
        noise = replaced_noise(acquisition.written, report["noise_intensity"] / scale).float()
    prior, measures = open_prior(config.prior, "cpu"), (acquisition.profile.fwhm_mm, acquisition.grid.spacing_mm)
    interval = choose_interval(replace(config, samples=count), prior, rule, exact, *measures, 0)
    assert interval is not None, "one sample has no interval"
    noise = noise.expand(truth.shape).numpy()
    return samples[:, mask], truth[mask] / scale, deviation[mask], noise[mask], interval


def describe(
    samples: np.ndarray, truth: np.ndarray, deviation: np.ndarray, noise: np.ndarray, factors: list[float]
) -> dict[str, float]:
    count, error = len(samples), samples.mean(0) - truth
    std = samples.std(0, ddof=1)
    row = {"psnr": float(-10 * np.log10(np.mean(error**2)))}
    for level in LEVELS:
        half = uncertainty.student_half_width(std, count, level)
        row[f"before_{level:g}"] = uncertainty.coverage(error, half)
    for i, level in enumerate(LEVELS):
        row[f"after_{level:g}"] = uncertainty.coverage(error, reach(deviation, factors[i], noise, level))
    row["crps_samples"] = uncertainty.sample_crps(samples, truth)
    row["scale"] = factors[LEVELS.index(0.9)] / normal_quantile(0.9)
    row["crps_after"] = uncertainty.normal_crps(error, np.hypot(row["scale"] * deviation, noise))
    row["spread_skill"] = uncertainty.spread_skill(std, error, count)
    row["rank_std"] = uncertainty.rank_correlation(std, error)
    row["rank_predictive"] = uncertainty.rank_correlation(deviation, error)
    return row


if __name__ == "__main__":
    main()
