"""A section of docs/results.md: what it shows, the command that measured it, and how its rows become lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt

import results_tables as tables


@dataclass(frozen=True)
class Section:
    """A heading, the file it is made of, how that was made, what is to be seen, and how rows become lines."""

    title: str
    file: str
    command: str
    text: str
    table: Callable[[tables.Rows], list[str]]
    draw: Callable[[tables.Rows], plt.Figure] | None = None

    @property
    def picture(self) -> str:
        """The file of what ``draw`` makes of the same rows."""
        return str(Path(self.file).with_suffix(".png"))
