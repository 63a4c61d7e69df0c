"""Inputs that cannot be worked with, and what is said of each: the table of docs/bad_inputs.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bad_files import (
    SHAPE,
    _bytes,
    changed,
    damaged,
    dicom,
    echoes,
    file_as_folder,
    folder_of_volumes,
    guide_elsewhere,
    head,
    localizer,
    locked_folder,
    mostly_empty,
    of_file,
    of_other_head,
    one_dicom_file,
    pair_header,
    restored,
    scan,
    sheared_scan,
    standardised,
)
from dicom_files import SPACING


@dataclass(frozen=True)
class BadInput:
    """A situation: what it is, the words of the command line that a folder is prepared for, and what must be said."""

    what: str
    words: Callable[[Path], list[str]]
    said: str
    code: int = 1


def shortened(line: str, folder: Path) -> str:
    """What was said, as the page shows it: without the folder of the files."""
    return line.removeprefix("focvs: ").replace(f"{folder}/", "").replace("|", "\\|").replace("`", "'")


USAGE = 2
BAD_INPUTS = {
    # files
    "missing_file": BadInput(
        "a file that is not there", lambda f: [str(f / "a.nii.gz"), str(f / "out")], "does not exist"
    ),
    "empty_file": BadInput("an empty file", of_file("a.nii.gz", b""), "is empty; copy it again"),
    "text_file": BadInput("text named .nii.gz", of_file("a.nii.gz", b"hello"), "does not begin as one"),
    "damaged_gzip": BadInput("a gzip stream whose checksum fails", damaged, "damaged or truncated"),
    "cut_short": BadInput(
        "a file that was cut short", changed(lambda b: b.__delitem__(slice(2000, None))), "truncated"
    ),
    "minc": BadInput("MINC", of_file("a.mnc", b"CDF"), "is MINC, not NIfTI; convert it first"),
    "afni": BadInput("AFNI", of_file("a+orig.HEAD", b"type"), "is AFNI, not NIfTI; convert it first"),
    "par_rec": BadInput("Philips PAR/REC", of_file("a.PAR", b"# ==="), "is Philips PAR/REC"),
    "picture": BadInput("a picture", of_file("a.png", b"\x89PNG"), "is a picture"),
    "array": BadInput("a NumPy array", of_file("a.npy", b"\x93NUMPY"), "without a place in space"),
    "archive": BadInput("an archive", of_file("a.zip", b"PK"), "is an archive"),
    "broken_nrrd": BadInput("a broken NRRD", of_file("a.nrrd", b"nothing"), "could not be read"),
    "analyze": BadInput(
        "Analyze 7.5", changed(_bytes(344, b"\0\0\0\0")), "is Analyze, which does not say which side is left"
    ),
    "pair_header": BadInput("the header of a pair", pair_header, "is the header of a NIfTI pair"),
    "one_dicom_file": BadInput("one file of a DICOM series", one_dicom_file, "is a DICOM file; give its folder"),
    "folder_of_volumes": BadInput(
        "a folder without multi-slice scans", folder_of_volumes, "holds no multi-slice scan .*it is isotropic already"
    ),
    "no_shard": BadInput(
        "a part that there is not", lambda f: [*folder_of_volumes(f), "shard=5/4"], "shard=5/4 is not i/N"
    ),
    "empty_folder": BadInput(
        "an empty folder",
        lambda f: [str(f / "none"), str(f / "out")] if not (f / "none").mkdir() else [],
        "holds no DICOM series",
    ),
    # voxels
    "isotropic": BadInput(
        "an isotropic volume", restored(affine=np.diag([1.2, 1.2, 1.3, 1.0])), "is isotropic already"
    ),
    "two_thick_axes": BadInput("two thick axes", restored(affine=np.diag([1.2, 5.0, 5.0, 1.0])), "two thick axes"),
    "few_slices": BadInput("three slices", restored(data=lambda: head()[..., :3]), "at least 5 are needed"),
    "four_dimensions": BadInput(
        "several frames", restored(data=lambda: np.repeat(head()[..., None], 3, -1)), "give one 3-D volume"
    ),
    "constant": BadInput(
        "the same value everywhere", restored(data=lambda: np.full(SHAPE, 7, np.float32)), "there is no head in it"
    ),
    "complex": BadInput("complex values", restored(data=lambda: head().astype(np.complex64)), "is complex"),
    "all_nan": BadInput(
        "NaN everywhere", restored(data=lambda: np.full(SHAPE, np.nan, np.float32)), "there is no head in it"
    ),
    "standardised": BadInput(
        "values standardised within a mask", restored(data=standardised), "standardised within a mask"
    ),
    "negated": BadInput(
        "a negated image", restored(data=lambda: -head()), "tissue far below its background|no positive intensities"
    ),
    "mostly_empty": BadInput("five of twelve slices empty", restored(data=mostly_empty), "two thirds must be measured"),
    # headers
    "no_volume": BadInput(
        "an affine without volume",
        changed(lambda b: (_bytes(280, bytes(48))(b), _bytes(252, b"\0\0")(b))),
        "affine without volume",
    ),
    "no_size": BadInput(
        "no form and no voxel size",
        changed(lambda b: (_bytes(252, bytes(4))(b), _bytes(80, bytes(12))(b))),
        "is isotropic already|voxels without size",
    ),
    "metres": BadInput(
        "millimetres a thousand times too long",
        restored(affine=np.diag([1200.0, 1200.0, 6000.0, 1.0])),
        "a head is 50 to 600 mm.*unit micron",
    ),
    "micrometres": BadInput(
        "millimetres a thousand times too short",
        restored(affine=np.diag([0.0012, 0.0012, 0.006, 1.0])),
        "a head is 50 to 600 mm.*unit meter",
    ),
    "sheared": BadInput("slices that lean", sheared_scan, "is sheared: its stack leans by 53.1 degrees"),
    "odd_type": BadInput(
        "a type of voxels that is none", changed(_bytes(70, b"\xe7\x03")), "could not be read|header is broken"
    ),
    # DICOM
    "localizer": BadInput("a localizer", localizer, "slices of 3 orientations, as a localizer"),
    "no_such_series": BadInput("a series that is not there", dicom("series=9"), "series=9 is not in"),
    "two_echoes": BadInput("two echoes in a series", echoes, "holds 2 echoes .*echo="),
    "no_such_echo": BadInput("an echo that is not there", dicom("echo=2"), "echo=2, but series .* has 1"),
    "missing_slice": BadInput(
        "a slice that was lost", dicom(places=np.delete(SPACING * np.arange(12), 6)), "slices are missing"
    ),
    "doubled_slice": BadInput(
        "a slice twice", dicom(places=SPACING * np.array([*range(11), 4.0])), "lie where another does"
    ),
    "uneven_slices": BadInput(
        "slices unevenly spaced",
        dicom(places=np.append(np.arange(6) * 5.0, 28 + np.arange(6) * 7.5)),
        "unevenly spaced",
    ),
    "gantry_tilt": BadInput("a gantry tilted by more than 45 degrees", dicom(lean=8.0), "leans by 53.1 degrees"),
    "ct": BadInput("CT", dicom(Modality="CT"), "is CT, and FOCVS restores MRI"),
    "phase": BadInput("phase images", dicom(ImageType=["ORIGINAL", "PRIMARY", "P"]), "is a phase image"),
    "reformatted": BadInput(
        "reformatted slices", dicom(ImageType=["DERIVED", "SECONDARY", "MPR"]), "was computed from others"
    ),
    "unplaced": BadInput(
        "slices without a place", dicom(ImagePositionPatient=None), "does not say where its slices lie"
    ),
    "series_of_file": BadInput("series= of a file", restored("series=3"), "choose from a folder of DICOM files"),
    # options
    "unknown_key": BadInput("a key that is none", restored("thicknes=4"), "did you mean thickness?", USAGE),
    "unknown_option": BadInput("an option that is none", restored("--quite"), "did you mean --quiet?", USAGE),
    "dashes": BadInput("a key with dashes", restored("--thickness=4"), "keys have no dashes, write thickness=4", USAGE),
    "blanks": BadInput(
        "blanks around =", restored("thickness", "=", "4"), "written without blanks, thickness=4", USAGE
    ),
    "no_equals_sign": BadInput("a key without =", restored("thickness", "4"), "thickness 4: write thickness=4", USAGE),
    "colon": BadInput("a colon for =", restored("thickness:4"), "write thickness=4", USAGE),
    "added_key": BadInput("a key with a plus sign", restored("+foo=3"), "foo is not a key", USAGE),
    "same_stack": BadInput(
        "a scan as its own stack", lambda f: [str(scan(f)), str(f / "scan.nii.gz"), str(f / "out")], "is given twice"
    ),
    "comma": BadInput("a decimal comma", restored("thickness=4,5"), "write thickness=4.5 .* add -m", USAGE),
    "unknown_command": BadInput(
        "a mistyped command", lambda f: ["simulat", str(f / "a.nii")], "did you mean focvs simulate?", USAGE
    ),
    "no_number": BadInput("a word for a number", restored("thickness=thick"), "give a number or estimate", USAGE),
    "unknown_choice": BadInput("a choice that is none", restored("sampler=euler"), "choose one of ddim", USAGE),
    "too_thick": BadInput(
        "slices thicker than four spacings", restored("thickness=40"), "does not fit slices every 6 mm"
    ),
    "coarse_voxel": BadInput("voxels larger than the spacing", restored("voxel=7"), "below the slice spacing"),
    "no_spacing": BadInput("slices 0 mm apart", restored("spacing=0"), "must be above 0"),
    "negative_noise": BadInput("negative noise", restored("noise=-1"), "at least 0"),
    "no_steps": BadInput("no steps", restored("steps=0"), "steps=0 must be at least 1"),
    "many_stages": BadInput("more stages than there are", restored("steps=12"), "has 2 stages"),
    "fast_samples": BadInput("samples of the fast mean", restored("quality=fast", "samples=2"), "all 2 stages"),
    "excluded_slice": BadInput(
        "exclude= of a slice that is not there", restored("exclude=[40]"), "has the slices 0 to 11"
    ),
    "excluded_stack": BadInput(
        "exclude= of a stack that is not there", restored("exclude=[b.nii]"), "neither the number of a slice"
    ),
    "thickness_list": BadInput("two thicknesses for one stack", restored("thickness=[4,5]"), "2 values for 1 stacks"),
    "unknown_type": BadInput("a type that is not written", restored("dtype=uint8"), "choose one of float32, int16"),
    "tiny_isotropic": BadInput("isotropic voxels without size", restored("isotropic=0"), "isotropic=0 must be"),
    "no_device": BadInput("a device that is not there", restored("device=cuda:7"), "is not usable here"),
    "no_prior": BadInput(
        "a prior that is not there", restored("path=/nothing/here"), "is missing: a prior is a folder"
    ),
    "output_file": BadInput(
        "a file name for the results", lambda f: [str(scan(f)), str(f / "result.nii.gz")], "results go to a folder"
    ),
    "output_is_file": BadInput("a file where the folder should be", file_as_folder, "cannot be written"),
    "other_head": BadInput("a stack of another head", of_other_head, "Scans of several heads are restored one by one"),
    "guide_elsewhere": BadInput("a guide somewhere else", guide_elsewhere, "shows 0 % of the head"),
    "guide_missing": BadInput(
        "a guide that is not there", restored("guide=t1.nii.gz"), "is not there; give an image file"
    ),
    "locked": BadInput("results that another run writes", locked_folder, "is being done by another focvs"),
    "too_many_words": BadInput("one word too many", restored("somewhere"), "one argument too many", USAGE),
}
