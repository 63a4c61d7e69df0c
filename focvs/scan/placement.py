"""Where the voxels of a NIfTI file lie, in mm: forms and units that contradict themselves, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np

from focvs.errors import InputError

UNIT_MM = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
_UNITS = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}  # of space, by the lowest three bits of xyzt_units
SMALLEST_MM, LARGEST_MM = 50.0, 600.0  # longest edge of an image of a head
BELIEVABLE_MM = 5.0, 3000.0  # of anything that lies in a scanner
FORMS_AGREE = 1e-2  # mm
SIZES_AGREE = 0.01  # relative difference of pixdim and the affine
EMPTY = 1e-12  # determinant of an affine without volume, cubic mm over the product of its columns


def place_voxels(header: nib.Nifti1Header, shape: Sequence[int], name: str) -> tuple[np.ndarray, list[str]]:
    """Voxel-to-world ``(4, 4)`` in mm, and what is odd about it.

    The sform is preferred to the qform, either to a broken other one. Where both codes are 0 the first voxel is at the
    origin and axes point left, back and up, as ITK has it. ``header`` gets the forms, codes and units that were used.

    Args:
        header: changed in place where it is odd.
        shape: ``(i, j, k)`` voxels.
        name: of the file.

    Raises:
        InputError: without a form that has a volume, or for a size that no head has in any unit.
    """
    affine, warnings = _form(header, name)
    unit, factor, said = _unit(header, affine, shape, name)
    warnings += said
    affine[:3] *= factor
    sizes, stated = np.linalg.norm(affine[:3, :3], axis=0), factor * np.abs(header["pixdim"][1:4].astype(float))
    if (np.abs(stated / sizes - 1) > SIZES_AGREE).any():
        warnings.append(
            f"its pixdim says voxels of {_sizes(stated)} mm, its affine {_sizes(sizes)} mm, which was used; programs "
            "that go by pixdim show it stretched."
        )
    header.set_xyzt_units(unit)
    return affine, warnings


def _form(header: nib.Nifti1Header, name: str) -> tuple[np.ndarray, list[str]]:
    """The affine in units of the header."""
    codes = {form: int(header[f"{form}_code"]) for form in ("sform", "qform")}
    forms: dict[str, np.ndarray] = {}
    warnings = []
    for form, code in codes.items():
        if code <= 0:
            continue
        try:
            with np.errstate(all="ignore"):  # of numbers that are none
                affine = np.array(header.get_sform() if form == "sform" else header.get_qform(), dtype=float)
            sound, why = _has_volume(affine), "an affine without volume"
        except ValueError as error:  # of a quaternion longer than one
            sound, why = False, str(error).splitlines()[0]
        if sound:
            forms[form] = affine
        else:
            warnings.append(f"its {form} is broken ({why}) and was ignored.")
    if not forms and any(code > 0 for code in codes.values()):
        raise InputError(f"{name} has an affine without volume, {' and '.join(codes)} are broken; repair its header.")
    if not forms:
        warnings.append(
            "its header says neither where the voxels lie nor which side is left (qform_code and sform_code are 0): "
            "its first voxel was put at the origin, axes to the left, back and up, as ITK-SNAP, 3D Slicer and ANTs "
            "do, and the result says so; other viewers may show the two apart, so check left and right."
        )
        affine = np.diag([*(np.abs(header["pixdim"][1:4].astype(float)) * (-1, -1, 1)), 1.0])
        if not _has_volume(affine):
            raise InputError(
                f"{name} has voxels without size (pixdim {_sizes(header['pixdim'][1:4])}); repair its header."
            )
        header.set_qform(affine, 1)
        header.set_sform(affine, 1)
        return affine, warnings
    used = forms.get("sform", forms.get("qform"))
    assert used is not None
    if len(forms) == 2 and not np.allclose(forms["qform"], forms["sform"], atol=FORMS_AGREE):
        apart = np.abs(forms["qform"] - forms["sform"]).max()
        warnings.append(
            f"qform and sform disagree by up to {apart:.3g}; sform was used, and viewers that go by the qform show it "
            "elsewhere."
        )
    return used.copy(), warnings


def _unit(
    header: nib.Nifti1Header, affine: np.ndarray, shape: Sequence[int], name: str
) -> tuple[str, float, list[str]]:
    """Unit of length of a header, its millimetres, and what is odd about it."""
    code = int(header["xyzt_units"]) % 8
    longest = float((np.linalg.norm(affine[:3, :3], axis=0) * np.array(shape)).max())
    unit = _UNITS.get(code)
    if unit is None:
        return "mm", 1.0, [f"its unit of length has the code {code}, which means nothing; mm was taken."]
    size = longest * UNIT_MM[unit]
    known, believable = unit if unit != "unknown" else "mm", BELIEVABLE_MM[0] <= size <= BELIEVABLE_MM[1]
    odd = [f"it is {size:.3g} mm long by its header, and a head is 50 to 600 mm."] if believable else []
    if SMALLEST_MM <= size <= LARGEST_MM:
        return known, UNIT_MM[unit], []
    if known == "mm" and believable:
        return known, UNIT_MM[unit], odd
    fits = [u for u in ("mm", "meter", "micron") if SMALLEST_MM <= longest * UNIT_MM[u] <= LARGEST_MM]
    if not fits and believable:
        return known, UNIT_MM[unit], odd
    if known == "mm" or not fits:
        hint = f"; its numbers would fit in the unit {fits[0]}" if fits else ""
        raise InputError(
            f"{name} is {size:.3g} mm long by its header (unit {unit}), and a head is 50 to 600 mm{hint}: repair the "
            "unit (xyzt_units) or the voxel sizes of its header."
        )
    return (
        fits[0],
        UNIT_MM[fits[0]],
        [f"its header has the unit {unit}, which makes it {size:.3g} mm long; the unit was taken for {fits[0]}."],
    )


def _has_volume(affine: np.ndarray) -> bool:
    steps = affine[:3, :3]
    return bool(np.isfinite(affine).all()) and abs(np.linalg.det(steps)) > EMPTY * max(np.abs(steps).max(), 1e-300) ** 3


def _sizes(values: np.ndarray) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
