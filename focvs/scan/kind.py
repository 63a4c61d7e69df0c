"""What an image is by its header: MRI of a head, a magnitude, acquired; or something else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focvs.errors import NoScanError
from focvs.scan.formats import image_stem
from focvs.scan.sidecar import read_sidecar

HEADS = ("HEAD", "BRAIN", "SKULL", "NEURO", "FACE", "ORBIT", "INNER EAR", "IAC", "IAM", "PITUIT", "SELLA")
NOT_MAGNITUDE = {
    **dict.fromkeys(("P", "PHASE", "PHASE MAP"), "a phase image"),
    **dict.fromkeys(("R", "REAL"), "the real part of an image"),
    **dict.fromkeys(("I", "IMAGINARY"), "the imaginary part of an image"),
}
COMPUTED = frozenset(("PROJECTION IMAGE", "MIP", "MPR"))


@dataclass(frozen=True)
class Kind:
    """What an image is, by its header: modality, words of ImageType, part of the body, and whether acquired in 3D."""

    modality: str
    image_types: frozenset[str]
    body_part: str
    three_dimensional: bool

    def warnings(self, name: str) -> list[str]:
        """What is odd about it, a sentence each.

        Args:
            name: of the image.

        Raises:
            NoScanError: if it is no MRI, no magnitude, or was computed from other images.
        """
        if self.modality.upper() not in ("MR", "MRI"):
            raise NoScanError(f"{name} is {self.modality}, and FOCVS restores MRI; its priors know no other.")
        for word, kind in NOT_MAGNITUDE.items():
            if word in self.image_types and not {"M", "MAGNITUDE"} & self.image_types:
                raise NoScanError(f"{name} is {kind} (ImageType {word}); give the magnitude images.")
        if computed := COMPUTED & self.image_types:
            words = ", ".join(sorted(computed))
            raise NoScanError(f"{name} was computed from others (ImageType {words}); give the acquired slices.")
        found = []
        if self.body_part and not any(part in self.body_part.upper() for part in HEADS):
            found.append(f"its header says BodyPartExamined {self.body_part}, and the prior knows heads.")
        if self.three_dimensional:
            found.append(
                "its header says that it was acquired in 3D (MRAcquisitionType): profile=kspace is the profile of "
                "thick partitions."
            )
        return found


def stated_kind(path: Path) -> list[str]:
    """What is odd about an image by the JSON beside it, as dcm2niix writes it.

    Raises:
        NoScanError: if it says that the image is no MRI, or no magnitude.
    """
    try:
        stated = read_sidecar(path.with_name(image_stem(path) + ".json"))
    except (OSError, ValueError):
        return []  # which is said where the thickness is looked for
    words = frozenset(str(word).upper() for word in words_of(stated.get("ImageType")))
    modality, part = stated.get("Modality"), stated.get("BodyPartExamined")
    volumetric = stated.get("MRAcquisitionType") == "3D"
    found = Kind(str(modality or "MR"), words, part if isinstance(part, str) else "", volumetric)
    return found.warnings(str(path))


def words_of(value: Any) -> list[str]:
    """The words of a value of a header: one, several, or none."""
    if value is None or isinstance(value, str) or not isinstance(value, Iterable):
        return [] if value is None else [str(value)]
    return list(value)
