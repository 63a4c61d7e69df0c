r"""What analyses make of the restored volumes: ``python scripts/benchmark_downstream.py TRUTH [options]``.

The thin-slice volume is degraded as in benchmark_quality.py, restored by every ``--run``, and truth and estimates are
compared by what is found in them: tissue classes (a Gaussian mixture with a Markov random field on both; Dice and
volume) and lesions by size (contrast and volume kept, erased, invented). Rows are added to ``tissues.csv`` and
``lesions.csv`` in ``--output``, in place of those of the same case.

    python scripts/benchmark_downstream.py some_stripped_T1w.nii.gz --slices 4:4 6:6 --noise 0.01 \
        --tissues 3 --run "B-spline: method=spline" --run "FOCVS:" --output docs/results
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
from nibabel.processing import resample_from_to
from omegaconf import OmegaConf

from benchmark_quality import degraded_box, hash_of_prior
from focvs.commands.overrides import compose, quote, split_overrides
from focvs.commands.scores import measure_estimates
from focvs.config import EvaluateConfig
from focvs.files import write_csv
from focvs.pipeline import super_resolve
from focvs.run_config import RunConfig
from focvs.scan.formats import image_stem

CASE = ("truth", "slices", "noise", "box", "method")


def main() -> None:
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--slices", nargs="+", default=["4:4"], help="thickness:spacing in mm")
    parser.add_argument("--noise", type=float, default=0.0, help="of the scan, fraction of the 99.5th percentile")
    parser.add_argument("--run", action="append", help="NAME: overrides, may be given several times")
    parser.add_argument("--tissues", type=int, default=0, help="classes of intensity; 0 leaves them out")
    parser.add_argument("--brain", type=Path, help="a mask of where the classes are; without, the whole head")
    parser.add_argument("--lesions", help="a mask, or bright; left out without")
    parser.add_argument(
        "--lesions-above",
        type=float,
        default=EvaluateConfig.lesions_above,
        help="of bright ones, times the median of the head",
    )
    parser.add_argument(
        "--lesions-inside",
        type=float,
        default=EvaluateConfig.lesions_inside,
        help="of bright ones, mm from the outside of the head",
    )
    parser.add_argument("--box", type=int, default=0, help="only this many middle voxels of the first axis; 0 = all")
    parser.add_argument("--output", type=Path, help="folder of the CSV files")
    options = parser.parse_args(arguments)
    if not options.tissues and not options.lesions:
        parser.error("give --tissues 3, --lesions bright, or both")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    bright = f"bright above {options.lesions_above:g}, {options.lesions_inside:g} mm inside"
    judges = {
        "tissues.csv": f"{options.tissues} classes" + (f" in {options.brain.name}" if options.brain else ""),
        "lesions.csv": bright if options.lesions == "bright" else options.lesions,
    }
    for slices in options.slices:
        for run in options.run or ["FOCVS:"]:
            name, _, rest = run.partition(":")
            words = [*overrides, *rest.split()]
            values = (image_stem(options.truth), slices, options.noise, options.box, name.strip())
            case = dict(zip(CASE, values, strict=True))
            how = {"overrides": " ".join(words), "prior": hash_of_prior(words)}
            with tempfile.TemporaryDirectory() as folder:
                row = judge(options, slices, words, Path(folder))
            for file, rows in (("tissues.csv", tissue_rows(row)), ("lesions.csv", lesion_rows(row))):
                lines = [{**case, **how, "judged_by": judges[file], **line} for line in rows]
                for line in lines:
                    print(*(f"{k}={v}" for k, v in line.items()), flush=True)
                if options.output and lines:
                    add(options.output / file, lines)


def judge(options: argparse.Namespace, slices: str, words: list[str], folder: Path) -> dict[str, Any]:
    """The evaluation of one restoration."""
    scan, _, voxel = degraded_box(options.truth, slices, options.box, folder, options.noise)
    truth = folder / "truth.nii.gz"
    evaluation = EvaluateConfig(str(truth), [])
    evaluation.tissues = options.tissues
    evaluation.lesions_above, evaluation.lesions_inside = options.lesions_above, options.lesions_inside
    if options.brain:
        evaluation.brain = str(on_voxels(options.brain, truth, folder / "brain.nii.gz"))
    evaluation.lesions = options.lesions
    if options.lesions not in (None, "bright"):
        evaluation.lesions = str(on_voxels(Path(options.lesions), truth, folder / "lesions.nii.gz"))
    words = [f"scan={quote(str(scan.path))}", f"voxel={voxel}", f"output_dir={quote(str(folder))}", *words]
    config: RunConfig = OmegaConf.to_object(compose("config", ["figure=false", "report=false", *words]))
    evaluation.estimates = [str(super_resolve(config)["mean"])]
    (row,), _ = measure_estimates(evaluation)
    return row


def on_voxels(mask: Path, truth: Path, path: Path) -> Path:
    """A mask on the voxels of the truth that is used, which is cropped."""
    nib.save(resample_from_to(nib.load(mask), nib.load(truth), order=0), path)
    return path


def tissue_rows(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each class, in the order of their brightness."""
    found = (row.get("segmentations") or {}).get("tissues")
    labels = found["labels"] if found else {}
    return [
        {"class": label, "dice": round(values["dice"], 4), "volume_error": round(values["volume_error"], 4)}
        for label, values in labels.items()
    ]


def lesion_rows(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each size of lesions."""
    return [
        {"size": size, **{key: round(value, 3) for key, value in values.items()}}
        for size, values in row.get("lesions", {}).items()
    ]


def add(path: Path, rows: list[dict[str, Any]]) -> None:
    """Put rows of one case into a CSV file, in place of those it has of that case."""
    kept = []
    if path.is_file():
        with path.open(newline="") as stream:
            kept = [row for row in csv.DictReader(stream) if any(row[key] != str(rows[0][key]) for key in CASE)]
    write_csv(path, [*kept, *rows], list(rows[0]))


if __name__ == "__main__":
    main()
