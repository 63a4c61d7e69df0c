"""Segmenters for ``focvs evaluate``: intensity classes without weights, or any program that writes labels."""

from __future__ import annotations

import logging
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to

from focvs.errors import InputError
from focvs.evaluation.segmentation import MOST_CLASSES, compare_labels, tissue_classes
from focvs.scan.nifti import on_same_voxels, read_volume

log = logging.getLogger(__name__)

# a file, and its image on the voxels of the truth, to integer labels on those voxels
Segmenter: TypeAlias = Callable[[Path, np.ndarray], np.ndarray]


def open_segmenters(
    reference: nib.Nifti1Image, head: np.ndarray, tissues: int = 0, brain: str | None = None, command: str | None = None
) -> dict[str, Segmenter]:
    """The segmenters that are asked for, by name.

    Args:
        reference: the truth.
        head: ``(a, b, c)`` boolean, where labels count.
        tissues: how many intensity classes; 0 for none.
        brain: file of the mask of the tissue classes; None for the head.
        command: a program that writes labels, with ``{input}`` and ``{output}`` for the files; None for none.

    Raises:
        InputError: for a number of classes or a command that cannot be, or a brain mask that does not fit.
    """
    segmenters: dict[str, Segmenter] = {}
    if tissues:
        if not 2 <= tissues <= MOST_CLASSES:
            raise InputError(f"tissues={tissues} must be 2 to {MOST_CLASSES} classes, or 0 for none.")
        inside = head if brain is None else head & open_mask(brain, reference)
        if not inside.any():
            raise InputError(f"brain={brain} holds nothing of the head.")
        segmenters["tissues"] = partial(classify, inside, tissues)
    elif brain is not None:
        raise InputError("brain= is the mask of tissue classes; give tissues=3 as well.")
    if command is not None:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise InputError(f"segment_command='{command}' is no command ({error}).") from error
        if not all(any(place in word for word in words) for place in ("{input}", "{output}")):
            raise InputError(
                f"segment_command='{command}' must name {{input}} and {{output}}, "
                "as in 'mri_synthseg --i {input} --o {output}'."
            )
        segmenters["segment_command"] = lambda path, image: np.where(head, run_segmenter(words, path, reference), 0)
    return segmenters


def classify(inside: np.ndarray, classes: int, path: Path, image: np.ndarray) -> np.ndarray:
    """Intensity classes of an image.

    Raises:
        InputError: if it has too few intensities.
    """
    try:
        return tissue_classes(image, inside, classes)
    except ValueError as error:
        raise InputError(f"tissues={classes}: {path.name}: {error}") from error


def open_mask(path: str, reference: nib.Nifti1Image) -> np.ndarray:
    """A mask on the voxels of the truth.

    Raises:
        InputError: for an unreadable mask, or one on other voxels.
    """
    data, affine, _ = read_volume(Path(path))
    if not on_same_voxels(data, affine, reference):
        raise InputError(f"{path} is not on the voxels of the truth; resample it first (nearest neighbour).")
    return np.asarray(data > 0)


def run_segmenter(words: list[str], path: Path, reference: nib.Nifti1Image) -> np.ndarray:
    """Labels a program writes for a file, on the voxels of the truth (nearest neighbour).

    Args:
        words: command, with ``{input}`` and ``{output}`` for the files.
        path: the image.
        reference: the truth.

    Raises:
        InputError: if it cannot be run, fails, or writes no labels.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "labels.nii.gz"
        command = [word.replace("{input}", str(path)).replace("{output}", str(out)) for word in words]
        log.info("running %s", shlex.join(command))
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        except OSError as error:
            raise InputError(f"segment_command: {words[0]} could not be started ({error.strerror}).") from error
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise InputError(f"segment_command: {words[0]} failed on {path.name} ({done.returncode}); it said: {said}")
        if not out.is_file():
            raise InputError(f"segment_command: {words[0]} wrote no {{output}} for {path.name}.")
        data, affine, header = read_volume(out)
        if not on_same_voxels(data, affine, reference):
            moved = resample_from_to(nib.Nifti1Image(data, affine, header), reference, order=0)
            data = np.asarray(moved.dataobj)
        return np.rint(data).astype(np.int32)


def describe_labels(truth: np.ndarray, estimate: np.ndarray) -> dict[str, Any]:
    """``dice`` and ``volume_error`` of every label, and ``mean_dice``."""
    found = compare_labels(truth, estimate)
    return {
        "mean_dice": float(np.mean([label.dice for label in found.values()])),
        "labels": {str(k): {"dice": v.dice, "volume_error": v.volume_error} for k, v in found.items()},
    }


def segment_estimate(
    segmenters: dict[str, Segmenter], truth: dict[str, np.ndarray], path: Path, image: np.ndarray
) -> dict[str, dict[str, Any] | None]:
    """:func:`describe_labels` by segmenter; None, and the reason in the log, for one that failed on this estimate."""
    found: dict[str, dict[str, Any] | None] = {}
    for name, segment in segmenters.items():
        try:
            found[name] = describe_labels(truth[name], segment(path, image))
        except InputError as error:
            log.error("%s", error)
            found[name] = None
    return found
