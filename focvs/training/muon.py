"""Muon for the convolutions of a network, AdamW for everything else, behind one learning-rate factor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class MuonAdamW:
    """torch's Muon on each hidden convolution as a matrix, and its AdamW on the first and last layer and on biases.

    A convolution is the matrix of its output channels by all the rest (Jordan et al. 2024, "Muon: an optimizer for
    hidden layers"); updates have the root mean square of AdamW's (Liu et al. 2025, arXiv 2502.16982, section 2.2).
    Muon orthogonalises matrices whatever the order of their columns, so channels-last weights are viewed, not copied.

    Args:
        network: whose parameters are trained, already on its device and in its memory format.
        outermost: names of its first and last layers.
        learning_rate: of Muon.
        adamw_learning_rate: of the rest.
        momentum: of Muon.
        weight_decay: of both.
    """

    def __init__(
        self,
        network: nn.Module,
        outermost: Iterable[str] = ("stem", "head"),
        learning_rate: float = 1.5e-3,
        adamw_learning_rate: float = 5e-4,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ):
        outer = tuple(f"{name}." for name in outermost)
        self.pairs: list[tuple[Tensor, Tensor]] = []
        rest = []
        for name, parameter in network.named_parameters():
            if parameter.ndim == 4 and not name.startswith(outer):
                self.pairs.append((parameter, _as_matrix(parameter.detach())))
            else:
                rest.append(parameter)
        self.muon = torch.optim.Muon(
            [matrix for _, matrix in self.pairs],
            lr=learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        self.adamw = torch.optim.AdamW(rest, lr=adamw_learning_rate, weight_decay=weight_decay)
        self.rates = (learning_rate, adamw_learning_rate)

    def step(self, factor: float = 1.0) -> None:
        """One update with both learning rates times ``factor``."""
        for parameter, matrix in self.pairs:
            matrix.grad = None if parameter.grad is None else _as_matrix(parameter.grad)
        for optimiser, rate in zip((self.muon, self.adamw), self.rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])


def _as_matrix(weight: Tensor) -> Tensor:
    """``(out, in, k, k)`` in channels-last order as ``(out, k k in)``, sharing its storage."""
    return weight.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).flatten(1)
