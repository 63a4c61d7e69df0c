"""focvs-bids: the multi-slice anatomical scans of a BIDS data set to derivatives, as a BIDS App is called."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focvs import __version__
from focvs.commands.endings import DONE, FAILED, exit_code
from focvs.commands.garbage import leave
from focvs.commands.launched import read_launch, take_over
from focvs.errors import FocvsError, InputError, NoScanError
from focvs.files import require_writable, write_atomically, write_csv, write_json
from focvs.scan.formats import image_stem
from focvs.scan.sidecar import read_sidecar

log = logging.getLogger("focvs")
SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw", "T2starw", "inplaneT1", "inplaneT2", "PDT2")  # of scans that may be thick
ENTITY = re.compile(r"([a-z]+)-([A-Za-z0-9]+)")
NAME = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*)_(?P<suffix>[A-Za-z0-9]+)\.nii(?:\.gz)?")
MAPS = {"mean": "focvs", "std": "focvsStd", "nullstd": "focvsNullStd", "q05": "focvsQ05", "q95": "focvsQ95"}
WHAT = {
    "focvs": "Mean of the volumes that the scan allows",
    "focvsStd": "Standard deviation of the error of desc-focvs",
    "focvsNullStd": "Standard deviation of the part that the scan says nothing about",
    "focvsQ05": "Lower end of the interval that about 90 % of true intensities lie in",
    "focvsQ95": "Upper end of the interval that about 90 % of true intensities lie in",
}
README = """\
Isotropic voxels from the multi-slice anatomical scans of the source data set, by FOCVS.

desc-focvs is the mean of the volumes that a scan allows: it reproduces the scan when it is degraded again, and what
lies between the slices is plausible, not measured. desc-focvsStd is the standard deviation of its error,
desc-focvsNullStd that of the part that the scan says nothing about; between desc-focvsQ05 and desc-focvsQ95 lie about
90 % of the true intensities. The pages *.html show each scan. For research, not for diagnosis.
"""
LEAST_GB = 2.0


@dataclass(frozen=True)
class Scan:
    """A file of a data set, by its name: entities in order, and the suffix."""

    path: Path
    entities: Mapping[str, str]
    suffix: str

    def named(self, description: str) -> str:
        """What a derivative is called, without the suffix of its format."""
        words = [f"{key}-{value}" for key, value in self.entities.items()]
        return "_".join([*words, "res-iso", f"desc-{description}", self.suffix])


def main(argv: Sequence[str] | None = None) -> int:
    """The BIDS App; the exit code is returned: 0 done, 1 a scan failed, 2 other words, 130 Ctrl-C, 143 SIGTERM."""
    options = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    if options.mem_gb is not None and options.mem_gb < LEAST_GB:
        log.warning("--mem-gb %g: a whole head takes about %g GB", options.mem_gb, LEAST_GB)
    return exit_code(lambda: DONE if not take_over(read_launch()) or run(options) else FAILED, "focvs-bids")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="focvs-bids", description=__doc__)
    parser.add_argument("bids_dir", type=Path, help="the data set")
    parser.add_argument("output_dir", type=Path, help="of the derivatives")
    parser.add_argument("analysis_level", choices=["participant"])
    parser.add_argument("--participant-label", "--participant_label", nargs="+", help="with or without sub-")
    parser.add_argument("--session-label", "--session_label", nargs="+", help="with or without ses-")
    parser.add_argument("--bids-filter-file", type=Path, help='JSON of entities, such as {"suffix": ["FLAIR"]}')
    parser.add_argument("--n-cpus", "--n_cpus", type=int, help="threads")
    parser.add_argument("--mem-gb", "--mem_gb", type=float, help="memory that the run may take, said where it is less")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="such as quality=fast")
    parser.add_argument("--guide", metavar="SUFFIX", help="the image of that suffix beside each scan is its guide: T1w")
    parser.add_argument("--version", action="version", version=f"focvs {__version__}")
    return parser


def run(options: argparse.Namespace) -> bool:
    """Restore every scan that was asked for; a failure ends nothing.

    Returns:
        Whether none failed.

    Raises:
        InputError: for a folder that is no data set, a filter that cannot be read, or where nothing was found.
    """
    if options.n_cpus is not None:
        os.environ["OMP_NUM_THREADS"] = str(options.n_cpus)
    wanted = _wanted(options)
    scans = list(find_scans(options.bids_dir, wanted))
    if not scans:
        raise InputError(
            f"{options.bids_dir} holds no scan that was asked for, sub-*/[ses-*/]anat/*_SUFFIX.nii.gz with one of "
            f"{', '.join(SUFFIXES)}."
        )
    if options.guide is not None and all(not list(s.path.parent.glob(f"*_{options.guide}.nii*")) for s in scans):
        raise InputError(f"--guide {options.guide}: no scan has an image *_{options.guide}.nii.gz beside it; try T1w.")
    require_writable(options.output_dir)
    describe_dataset(options.output_dir, options.bids_dir)
    rows: list[dict[str, Any]] = []
    for number, scan in enumerate(scans, start=1):
        name = str(scan.path.relative_to(options.bids_dir))
        log.info("--- %d of %d: %s", number, len(scans), name)
        rows.append({"scan": name, "status": "restored", "reason": ""})
        try:
            if not restore(scan, options):
                rows[-1]["status"] = "there"
        except NoScanError as error:
            rows[-1] |= {"status": "skipped", "reason": str(error)}
        except FocvsError as error:
            rows[-1] |= {"status": "failed", "reason": str(error)}
        if rows[-1]["reason"]:
            log.warning("%s: %s", rows[-1]["status"], rows[-1]["reason"])
        write_csv(options.output_dir / "logs" / "focvs.csv", rows, ["scan", "status", "reason"])
    return all(row["status"] != "failed" for row in rows)


def restore(scan: Scan, options: argparse.Namespace) -> bool:
    """Restore a scan, unless that was done, and put its images and sidecars beside each other under their names.

    Returns:
        Whether it was not there.

    Raises:
        InputError: for a scan or an option that cannot be worked with.
        NoScanError: for an image that is no multi-slice scan.
    """
    from focvs.commands.overrides import compose, quote, to_schema
    from focvs.pipeline import super_resolve

    folder = options.output_dir / scan.path.parent.relative_to(options.bids_dir)
    guide = None if options.guide is None else guide_of(scan, options.guide)
    told = [*options.option, *([] if guide is None else [f"guide={quote(str(guide))}"])]
    if "overwrite=true" not in told and _there(scan, folder, told, guide):
        return False
    with tempfile.TemporaryDirectory(prefix="focvs-") as work:
        words = [f"scan={quote(str(scan.path))}", f"output_dir={quote(work)}", "progress=false", *told]
        paths = super_resolve(to_schema(compose("config", words)))
        report = json.loads(paths["json"].read_text(encoding="utf-8"))
        folder.mkdir(parents=True, exist_ok=True)
        # goes first and comes last: what it says is there tells that all is, of one run
        (folder / f"{scan.named('focvs')}.json").unlink(missing_ok=True)
        if "report" in paths:
            _move(paths["report"], options.output_dir / f"{scan.named('focvs')}.html")
        for key, description in reversed(MAPS.items()):
            if key not in paths:
                continue
            _move(paths[key], folder / f"{scan.named(description)}.nii.gz")
            sidecar = _sidecar(scan, description, report, options.bids_dir) | {"Settings": told}
            if guide is not None:
                sidecar["Sources"].append(f"bids:raw:{guide.relative_to(options.bids_dir).as_posix()}")
                sidecar["GuideVoxelsSha256"] = report["guide"]["image_sha256"]
            write_json(folder / f"{scan.named(description)}.json", sidecar)
    return True


def guide_of(scan: Scan, suffix: str) -> Path | None:
    """The image of that suffix in the folder of a scan, or None where there is none, or it is the scan.

    Raises:
        InputError: where there are several.
    """
    found = sorted(scan.path.parent.glob(f"*_{suffix}.nii*"))
    if scan.path in found or not found:
        return None
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{scan.path.name} has {len(found)} guides ({names}); leave one in, or restore it by focvs.")
    return found[0]


def _there(scan: Scan, folder: Path, told: Sequence[str], guide: Path | None) -> bool:
    """Whether a run of this version restored the same image with the same settings and the same guide."""
    from focvs.reconstruction.guide import sha256_of_image
    from focvs.scan.dicom import open_scan

    try:
        said = json.loads((folder / f"{scan.named('focvs')}.json").read_text(encoding="utf-8"))
        same = said["GeneratedBy"]["Version"] == __version__ and said["Settings"] == list(told)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not same or not (folder / f"{scan.named('focvs')}.nii.gz").is_file():
        return False
    told_by = None if guide is None else sha256_of_image(guide)
    now = (open_scan(scan.path, None).sha256, told_by)
    return (said.get("SourceVoxelsSha256"), said.get("GuideVoxelsSha256")) == now


def find_scans(folder: Path, wanted: Mapping[str, Sequence[str]]) -> Iterator[Scan]:
    """Anatomical scans whose entities and suffix are among the wanted ones."""
    for path in sorted([*folder.glob("sub-*/anat/*.nii*"), *folder.glob("sub-*/ses-*/anat/*.nii*")]):
        found = NAME.fullmatch(path.name)
        if not found or found["suffix"] not in SUFFIXES:
            continue
        entities = dict(ENTITY.findall(found["entities"]))
        told = {**entities, "suffix": found["suffix"]}
        if all(told.get(key) in values for key, values in wanted.items()):
            yield Scan(path, entities, found["suffix"])


def describe_dataset(folder: Path, source: Path) -> None:
    """Write dataset_description.json, README and .bidsignore, those that are not there; authors are the source's."""
    path = folder / "dataset_description.json"
    if not path.exists():
        content = {
            "Name": "FOCVS: isotropic voxels from multi-slice scans",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "focvs", "Version": __version__}],
            "SourceDatasets": [{"URL": source.resolve().as_uri()}],
            "DatasetLinks": {"raw": source.resolve().as_uri()},
        }
        with contextlib.suppress(OSError, ValueError, AttributeError):
            given = json.loads((source / path.name).read_text(encoding="utf-8"))
            content |= {key: given[key] for key in ("Authors", "License") if given.get(key)}
        write_json(path, content)
    for name, text in (("README", README), (".bidsignore", "*.html\nlogs/\n")):
        if not (folder / name).exists():
            write_atomically(folder / name, "", lambda part, text=text: part.write_text(text, encoding="utf-8"))


def _wanted(options: argparse.Namespace) -> dict[str, list[str]]:
    """Entities and their values that scans must have.

    Raises:
        InputError: for a folder without subjects or a filter that is none.
    """
    if not any(options.bids_dir.glob("sub-*")):
        raise InputError(f"{options.bids_dir} is no BIDS data set: it has no folders sub-LABEL.")
    wanted: dict[str, list[str]] = {}
    for key, labels in (("sub", options.participant_label), ("ses", options.session_label)):
        if labels:
            wanted[key] = [label.removeprefix(f"{key}-") for label in labels]
    for label in wanted.get("sub", []):
        if not (options.bids_dir / f"sub-{label}").is_dir():
            raise InputError(f"sub-{label} is not in {options.bids_dir}.")
    if options.bids_filter_file is None:
        return wanted
    try:
        given = json.loads(options.bids_filter_file.read_text(encoding="utf-8"))
        pairs = {str(key): value for key, value in given.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{options.bids_filter_file} is no JSON of entities and their values ({error}).") from error
    short = {"subject": "sub", "session": "ses", "acquisition": "acq", "reconstruction": "rec"}
    for key, value in pairs.items():
        wanted[short.get(key, key)] = [str(v) for v in (value if isinstance(value, list) else [value])]
    return wanted


def _sidecar(scan: Scan, description: str, report: Mapping[str, Any], source: Path) -> dict[str, Any]:
    a = report["acquisition"]
    size = " x ".join(f"{v:.4g}" for v in (*a["in_plane_mm"], a["voxel_mm"]))
    return {
        "Description": WHAT[description],
        "Sources": [f"bids:raw:{scan.path.relative_to(source).as_posix()}"],
        "Resolution": {"iso": f"restored across slices to voxels of {size} mm"},
        "SkullStripped": _stripped(scan.path),
        "SourceVoxelsSha256": report["scan_sha256"],
        "SliceThicknessOfSource": a["thickness_mm"],
        "SpacingBetweenSlicesOfSource": a["spacing_mm"],
        "Warnings": report["warnings"],
        "RelativeResidual": report["consistency"]["relative_residual"],
        "GeneratedBy": {"Name": "focvs", "Version": report["version"]},
    }


def _stripped(path: Path) -> bool:
    """Whether the JSON beside a scan says that its skull was taken off, which raw data have on."""
    try:
        return bool(read_sidecar(path.with_name(image_stem(path) + ".json")).get("SkullStripped", False))
    except (OSError, ValueError):
        return False


def _move(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.move(source, part)  # a copy, where the temporary folder is on another file system
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def entry() -> None:
    """Console script."""
    leave(main())
