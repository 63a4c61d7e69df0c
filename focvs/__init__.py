"""FOCVS: through-plane super-resolution of head MRI exactly consistent with the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from focvs.api import Result, evaluate, operator, restore, simulate

__version__ = "0.2.0"
__all__ = ["Result", "__version__", "evaluate", "operator", "restore", "simulate"]


def __getattr__(name: str) -> Any:
    """The functions of :mod:`focvs.api`, imported with torch once one of them is asked for."""
    if name in __all__:
        from focvs import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
