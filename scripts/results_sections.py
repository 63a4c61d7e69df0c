"""All sections of docs/results.md, in their order on the page."""

from __future__ import annotations

import results_sections_method
import results_sections_prior
import results_sections_scan

ORDER = (
    "Quality",
    "A whole head",
    "Knowing the slice thickness",
    "The slice profile from the scan",
    "Slices of uneven brightness",
    "The noise of a scan",
    "Noise of magnitudes",
    "Overlapping slices",
    "Two stacks",
    "Methods without a prior, and other rules",
    "Priors",
    "The prior adapted to the scan",
    "Adaptation, on heads kept out of training",
    "Three stages",
    "The last exact replacement of noisy scans",
    "Denoising",
    "A 3D prior beside the 2D one",
    "Classes of intensity",
    "Lesions",
    "Lesions of real scans",
    "Uncertainty",
    "Peers as they ship",
    "Rules of the literature, ours and deepinv's",
)
_BY_TITLE = {
    section.title: section
    for module in (results_sections_method, results_sections_scan, results_sections_prior)
    for section in module.SECTIONS
}
SECTIONS = tuple(_BY_TITLE[title] for title in ORDER)
