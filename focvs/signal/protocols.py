"""Sequences from what BIDS sidecars say: seconds and degrees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from focvs.errors import InputError
from focvs.signal.sequences import InversionRecovery, Mprage, Sequence, SpinEcho, SpoiledGradientEcho

KINDS = ("spin_echo", "inversion_recovery", "spoiled_gradient_echo", "mprage")
LONGEST_S = {"RepetitionTime": 30.0, "EchoTime": 1.0, "InversionTime": 10.0, "EchoSpacing": 0.1}  # else milliseconds
MPRAGE_PULSES = 176


def sequence_of(sidecar: Mapping[str, Any], name: str, kind: str | None = None) -> Sequence:
    """The sequence of an image.

    Args:
        sidecar: RepetitionTime (of MPRAGE from inversion to inversion), EchoTime, InversionTime in seconds, FlipAngle
            in degrees; of MPRAGE also EchoSpacing or RepetitionTimeExcitation, and NumberShots or the length of its
            train. ScanningSequence (SE, GR, IR) and SequenceVariant (MP) tell the kind.
        name: of the image, for messages.
        kind: one of ``KINDS``; None takes it from the sidecar.

    Raises:
        InputError: for what is missing, of an unlikely size, or an unknown kind.
    """
    kind = kind or kind_of(sidecar, name)
    if kind not in KINDS:
        raise InputError(f"{name}: the sequence {kind} is not known; give one of {', '.join(KINDS)}.")
    tr, te = _seconds(sidecar, "RepetitionTime", name), _seconds(sidecar, "EchoTime", name)
    if te >= tr and kind != "spoiled_gradient_echo":
        raise InputError(f"{name}: its EchoTime of {te:g} s is not below its RepetitionTime of {tr:g} s.")
    if kind == "spin_echo":
        return SpinEcho(tr, te)
    if kind == "inversion_recovery":
        return InversionRecovery(tr, te, _seconds(sidecar, "InversionTime", name))
    flip = _number(sidecar, "FlipAngle", name)
    if not 0 < flip <= 180:
        raise InputError(f"{name}: its FlipAngle of {flip:g} must be above 0 and at most 180 degrees.")
    if kind == "spoiled_gradient_echo":
        return SpoiledGradientEcho(tr, te, math.radians(flip))
    key = "RepetitionTimeExcitation" if "RepetitionTimeExcitation" in sidecar else "EchoSpacing"
    spacing = _seconds(sidecar, key, name)
    pulses = int(sidecar.get("NumberShots", MPRAGE_PULSES))
    try:
        return Mprage(tr, te, _seconds(sidecar, "InversionTime", name), math.radians(flip), spacing, pulses)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error


def kind_of(sidecar: Mapping[str, Any], name: str) -> str:
    """The kind of sequence that ScanningSequence and SequenceVariant tell.

    Raises:
        InputError: where they do not.
    """
    scanning = _words(sidecar.get("ScanningSequence"))
    if "MP" in _words(sidecar.get("SequenceVariant")) and "GR" in scanning:
        return "mprage"
    if "GR" in scanning:
        return "mprage" if "IR" in scanning else "spoiled_gradient_echo"
    if "IR" in scanning or ("SE" in scanning and "InversionTime" in sidecar):
        return "inversion_recovery"
    if "SE" in scanning:
        return "spin_echo"
    raise InputError(
        f"{name}: its sidecar does not say what sequence it is (ScanningSequence); give one of {', '.join(KINDS)}."
    )


def _words(value: Any) -> set[str]:
    values = value if isinstance(value, list) else str(value or "").replace("\\", "_").replace("/", "_").split("_")
    return {str(v).strip().upper() for v in values}


def _number(sidecar: Mapping[str, Any], key: str, name: str) -> float:
    try:
        number = float(sidecar[key])
    except KeyError:
        raise InputError(f"{name}: its sidecar has no {key}; an image needs its protocol.") from None
    except (TypeError, ValueError):
        raise InputError(f"{name}: {key} is {sidecar[key]!r}; a number is needed.") from None
    if not math.isfinite(number) or number <= 0:
        raise InputError(f"{name}: {key} is {number:g}; it must be above 0.")
    return number


def _seconds(sidecar: Mapping[str, Any], key: str, name: str) -> float:
    number = _number(sidecar, key, name)
    longest = LONGEST_S.get(key, 0.1)
    if number > longest:
        raise InputError(
            f"{name}: {key} is {number:g}, and BIDS has seconds (at most {longest:g} here); are these milliseconds?"
        )
    return number
