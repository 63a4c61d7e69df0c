"""The precision that a network computes in: as asked for, or bfloat16 where it is faster here and as good."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from focvs.errors import InputError
from focvs.hardware import multiplies_bfloat16

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
TOLERANCE = 0.01  # root mean square difference to float32 that is let through, prior units (a head spans 2)
AMPERE = 8  # compute capability of the first GPUs of NVIDIA with bfloat16
GAIN = 1.2  # how much faster bfloat16 must be, so that what is chosen does not change from run to run
BUDGET_SECONDS = 0.3  # of repeating each of the two
ROUNDS = 3  # that the two are timed in turns
SMALL = 300_000  # voxels that take seconds either way: not worth what reduced precision changes


@dataclass(frozen=True)
class Precision:
    """What networks compute in; everything else is float32 and float64.

    Attributes:
        name: ``float32``, ``bfloat16`` or ``float16``.
        reason: why.
        float32_seconds: of one evaluation in the probe; None where nothing was probed.
        reduced_seconds: of the same in the reduced precision.
        rms_difference: between the two, prior units.
        seconds_per_pixel: that an evaluation takes in this precision.
    """

    name: str
    reason: str
    float32_seconds: float | None = None
    reduced_seconds: float | None = None
    rms_difference: float | None = None
    seconds_per_pixel: float = 0.0

    @property
    def dtype(self) -> torch.dtype:
        """As a type of torch."""
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.name]


_settled: list[Precision] = []  # what another process has probed for this one


def choose_precision(
    asked: str, device: str, evaluate: Callable[[torch.dtype], Tensor], pixels: int, voxels: int | None = None
) -> Precision:
    """The precision for networks on a device.

    On a processor that has units for it bfloat16 is chosen where a probe of about a second finds it faster and within
    :data:`TOLERANCE`; on CUDA likewise, float16 where the card has no bfloat16.

    Args:
        asked: one of :data:`PRECISIONS`.
        device: torch device.
        evaluate: one typical evaluation of the network in a precision.
        pixels: that it evaluates.
        voxels: of the volume that is restored; ``auto`` keeps float32 on a processor where they are few.

    Raises:
        InputError: for an unknown precision, or float16 on a processor.
    """
    if asked not in PRECISIONS:
        raise InputError(f"precision={asked} is not known; choose one of {', '.join(PRECISIONS)}.")
    kind = torch.device(device).type
    if kind == "cpu" and asked == "float16":
        raise InputError("precision=float16 is for GPUs; choose auto, float32 or bfloat16 on a processor.")
    if asked == "auto" and kind == "cuda":
        return probe(
            evaluate, pixels, "bfloat16" if torch.cuda.get_device_capability(device)[0] >= AMPERE else "float16"
        )
    small = kind == "cpu" and voxels is not None and voxels < SMALL
    if asked == "auto" and kind == "cpu" and not small and multiplies_bfloat16():
        return probe(evaluate, pixels)
    if asked != "auto":
        known = Precision(asked, "as asked")
    elif small:
        known = Precision("float32", "so small a volume takes seconds either way")
    elif kind == "cpu":
        known = Precision("float32", "the processor has no units for bfloat16")
    else:
        known = Precision("float32", f"reduced precision is not used on {kind}")
    _, seconds = _time(evaluate, known.dtype, budget_seconds=0.0)
    return replace(known, seconds_per_pixel=seconds / pixels)


def settle(precision: Precision) -> None:
    """Take what another process on the same device has probed for what this one would find."""
    _settled.clear()
    _settled.append(precision)


def probe(evaluate: Callable[[torch.dtype], Tensor], pixels: int, name: str = "bfloat16") -> Precision:
    """Time and compare float32 and a reduced precision on one evaluation of some pixels, unless that is settled."""
    if _settled:
        return _settled[0]
    low = Precision(name, "").dtype
    slow = fast = float("inf")
    for _ in range(ROUNDS):  # in turns, and the fewest seconds of each: other programs come and go
        exact, seconds = _time(evaluate, torch.float32, BUDGET_SECONDS / ROUNDS)
        slow = min(slow, seconds)
        reduced, seconds = _time(evaluate, low, BUDGET_SECONDS / ROUNDS)
        fast = min(fast, seconds)
    difference = float((reduced.float() - exact.float()).square().mean().sqrt())
    figures = (round(slow, 4), round(fast, 4), round(difference, 5))
    if not difference <= TOLERANCE:
        reason = f"{name} differs by {difference:.2g}, more than {TOLERANCE:g}"
        return Precision("float32", reason, *figures, slow / pixels)
    if slow < GAIN * fast:
        return Precision("float32", f"{name} is not {GAIN:g} times as fast here", *figures, slow / pixels)
    reason = f"{slow / fast:.1f} times as fast here, and differs by {difference:.2g} (root mean square) of 2"
    return Precision(name, reason, *figures, fast / pixels)


def _time(evaluate: Callable[[torch.dtype], Tensor], dtype: torch.dtype, budget_seconds: float) -> tuple[Tensor, float]:
    """The result, and the fewest seconds of the evaluations after the first, at least one, that fit into a budget."""
    out, fewest, until = evaluate(dtype), float("inf"), time.perf_counter() + budget_seconds
    while True:
        began = time.perf_counter()
        evaluate(dtype)
        now = time.perf_counter()
        fewest = min(fewest, now - began)
        if now > until:
            return out, fewest


def lay_out(network: nn.Module) -> nn.Module:
    """Store the weights of convolutions with channels last, the order that fast kernels want; values stay."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        elif parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network
