"""HTML pages of one file each: templates of the folder ``page``, with the style and the viewer inside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jinja2
from markupsafe import Markup

from focvs import __version__

MARGIN = 6  # voxels around the head that pages show


def render(template: str, **values: Any) -> str:
    """A page as HTML; whatever comes from files is escaped.

    Args:
        template: name of a file in the folder ``page``.
        values: what it shows. ``style``, ``script`` and ``version`` are there already.

    Raises:
        jinja2.UndefinedError: where one is missing.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("focvs.report", "page"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    source = environment.loader
    assert source is not None
    style, script = (Markup(source.get_source(environment, name)[0]) for name in ("style.css", "viewer.js"))
    values = {"style": style, "script": script, "version": __version__, **values}
    return environment.get_template(template).render(**values)


def by(values: Iterable[float]) -> str:
    """Sizes along axes, such as ``1 x 1 x 4``."""
    return " x ".join(f"{v:.3g}" for v in values)
