"""Maps of proton density, T1 and T2 sharpened with and without guides, on generated heads whose truth is known.

python scripts/benchmark_qmri.py [--seeds 0 1 2] [--acquisitions 5:6 x2 x4] [--samples 8] [--only METHOD ...]
    [--csv docs/results/qmri.csv]

A slab of a head of tissues (0.6 mm voxels of one tissue each, 3 T) is averaged to voxels of 1.2 mm, which are the
truth, and further to what is acquired: slices of a thickness:spacing in mm, or k-space cut off along the two phase
encoding axes (x2: voxels of 1.2 x 2.4 x 2.4 mm). Five spin echoes with noise are fitted to give the maps that a
hospital would have. Guides are an MPRAGE and a T2-weighted spin echo at 1.2 mm with noise and a bias field. Printed are
the root mean square error (%) in grey and white matter and within 2 mm of their borders, the structural similarity of a
FLAIR that nobody acquired, the residual of the signals, and the deviation over the error; the CSV has biases,
structural similarity and HFEN of the maps as well. ``--lesions FILE`` adds a lesion of 8 mm to the head, which maps,
guides or both show.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from focvs.acquisition.guided_filter import guided_detail
from focvs.acquisition.tissue_head import CONTRASTS
from focvs.commands.qmri import read_given
from focvs.commands.restored_signals import pose
from focvs.config import QmriConfig
from focvs.evaluation.metrics import high_frequency_error, structural_similarity
from focvs.files import write_csv
from focvs.reconstruction.quantitative import Problem, Sharpened, WeightedImage, sharpen_maps
from focvs.reconstruction.signal_domain import REFERENCE
from focvs.scan.maps import Volumes
from focvs.scan.nifti import write_nifti
from focvs.signal.sequences import Sequence
from qmri_heads import (
    T1W,
    T2W,
    VOXEL_MM,
    Acquisition,
    acquired,
    configured,
    fine_head,
    fitted,
    halved,
    rendered,
    shown,
    with_lesion,
)

WRONG: dict[str, Sequence] = {"T1w": replace(T1W, tr_s=2.53, te_s=0.0033), "T2w": replace(T2W, tr_s=4.4, te_s=0.099)}
EDGE = 4  # voxels at the edges of the slab, where k-space that was cut off wraps around
HARDLY_HEARD = 30.0  # times the deviation of restored signals, where guides alone are fitted
NAMES = ("pd", "t1", "t2")
AS_THEY_ARE = "both, maps as they are"


class Head:
    """A generated head: truth, what was acquired of it, guides, and the restored signals.

    Args:
        seed: of the head, and of noise.
        acquisition: of the maps.
        ill: whether it has a lesion.
        samples: of every signal.
        as_they_are: whether the maps are restored as they are, too.
    """

    def __init__(
        self, seed: int, acquisition: Acquisition, ill: bool = False, samples: int = 0, as_they_are: bool = False
    ):
        clean, labels = fine_head(seed)
        diseased, self.lesion = with_lesion(clean, labels)
        fine = diseased if ill else clean
        signals = torch.stack([shown(fine, s) for s in REFERENCE.sequences])
        self.truth = fitted(REFERENCE, signals)
        shares = [halved(torch.from_numpy((labels == k).astype(float))).numpy() for k in (2, 3)]
        self.grey, self.white = (share > 0.95 for share in shares)
        near = ndimage.binary_dilation(self.grey, iterations=2) & ndimage.binary_dilation(self.white, iterations=2)
        self.border = near & (shares[0] + shares[1] > 0.9)
        self.flair = shown(fine, CONTRASTS["FLAIR"]).numpy()
        self.brain = halved(torch.from_numpy(np.isin(labels, (1, 2, 3, 4)).astype(float))).numpy() > 0.5
        self.solid = halved(torch.from_numpy(np.isin(labels, (2, 3, 4)).astype(float))).numpy() > 0.5
        inner = np.zeros_like(self.brain)
        inner[:, EDGE:-EDGE, EDGE:-EDGE] = True
        for mask in (self.grey, self.white, self.border, self.brain, self.solid):
            mask &= inner
        self.guides, self.guides_ill = (rendered(one, seed) for one in (clean, diseased))
        low = acquired(fine, acquisition, seed)
        with tempfile.TemporaryDirectory() as folder:
            header = nib.Nifti1Header()
            header.set_xyzt_units("mm")
            paths = [Path(folder) / f"{name}.nii.gz" for name in NAMES]
            for k, path in enumerate(paths):
                affine = np.diag([*acquisition.voxel_mm(), 1.0])
                write_nifti(path, low[..., k].numpy().astype(np.float32), affine, header)
            config = configured(acquisition, samples)
            config.density, config.t1, config.t2 = map(str, paths)
            self.problem, self.maps = posed(config)
            config.domain, config.samples = "map", 0
            self.as_maps = posed(config)[0] if as_they_are else None

    def interpolated(self, coarse: Tensor) -> Tensor:
        """``(k, ...)`` by cubic B-splines."""
        factors = [n / m for n, m in zip(self.truth.shape[:3], coarse.shape[1:], strict=True)]
        fine = [ndimage.zoom(one, factors, order=3, mode="nearest", grid_mode=True) for one in coarse.numpy()]
        return torch.from_numpy(np.stack(fine))

    def guided_filter(self) -> Tensor:
        """Maps of signals that have their detail from a guide as local linear functions of it, replaced."""
        p = self.problem
        found = []
        for k, name in enumerate(("T1w", "T2w", "T1w")):
            guide = self.guides[name].image
            seen = self.interpolated(p.operator(guide)[None])[0]
            signal = self.interpolated(p.measured[k : k + 1])[0]
            white = [2 / float(torch.quantile(one[p.mask], 0.995)) for one in (guide, signal)]
            detail = guided_detail(white[1] * signal - 1, white[0] * guide - 1, white[0] * seen - 1)
            found.append(signal + detail / white[1])
        return fitted(REFERENCE, p.operator.replace(torch.stack(found), p.measured))

    def methods(self) -> dict[str, Callable[[], Tensor | Sharpened]]:
        """What gives the maps of every method, by name."""
        p, both, as_maps = self.problem, list(self.guides.values()), self.as_maps
        cubic = self.interpolated(torch.from_numpy(self.maps.values).movedim(-1, 0)).movedim(0, -1)
        replaced = p.operator.replace(self.interpolated(p.measured), p.measured)
        moved = [ndimage.shift(guide.image.numpy(), (0, 1 / VOXEL_MM, 0), order=3) for guide in both]
        shifted = [replace(g, image=torch.from_numpy(image.clip(0))) for g, image in zip(both, moved, strict=True)]
        wrong = [replace(g, sequence=WRONG[n]) for n, g in self.guides.items()]
        unheard = replace(p, deviation=HARDLY_HEARD * p.deviation)
        ideal = REFERENCE(self.truth).movedim(-1, 0)
        return {
            "cubic B-spline of the maps": lambda: cubic,
            "spline of the signals, replaced": lambda: fitted(REFERENCE, replaced),
            "guided filter, replaced": self.guided_filter,
            "soft anchor": lambda: soft_anchor(p, cubic, self.maps, both),
            "no guide": lambda: sharpen_maps(p),
            "T1w": lambda: sharpen_maps(p, [self.guides["T1w"]]),
            "T2w": lambda: sharpen_maps(p, [self.guides["T2w"]]),
            "both": lambda: sharpen_maps(p, both),
            "both, no anchor": lambda: sharpen_maps(p, both, anchored=False),
            "guides alone, no anchor": lambda: sharpen_maps(unheard, both, anchored=False, related=False),
            "both, TR and TE 10 % wrong": lambda: sharpen_maps(p, wrong),
            "both, shifted by 1 mm": lambda: sharpen_maps(p, shifted),
            "both, density on its own": lambda: sharpen_maps(p, both, related=False),
            **({AS_THEY_ARE: lambda: sharpen_maps(as_maps, both)} if as_maps else {}),
            "the truth, replaced": lambda: fitted(REFERENCE, p.operator.replace(ideal, p.measured)),
        }

    def score(self, found: Tensor | Sharpened) -> dict[str, float]:
        """Errors in %, by tissue and map, and the rest."""
        maps = found if isinstance(found, Tensor) else found.maps
        scores: dict[str, float] = {}
        for name, mask in (("grey", self.grey), ("white", self.white), ("border", self.border)):
            inside = torch.from_numpy(mask)
            error = 100 * (maps[inside] / self.truth[inside] - 1)
            for k, key in enumerate(NAMES):
                scores[f"{key}_{name}_rmse"] = float(error[:, k].pow(2).mean().sqrt())
                scores[f"{key}_{name}_bias"] = float(error[:, k].mean())
        solid = torch.from_numpy(self.solid)
        for k, key in enumerate(NAMES):
            truth, one = (v[..., k].numpy() * self.brain for v in (self.truth, maps))
            top = float(np.percentile(truth[self.solid], 99.5))  # fluid would be all there is
            truth, one = truth.clip(0, top), one.clip(0, top)
            scores[f"{key}_ssim"] = structural_similarity(truth, one, self.brain, top)
            scores[f"{key}_hfen"] = high_frequency_error(truth, one, self.brain)
            if isinstance(found, Sharpened):
                error = (found.maps - self.truth)[solid][:, k]
                size = found.deviation[solid][:, k]
                within = (error.abs() <= 1.645 * size).double().mean()
                scores[f"{key}_deviation"] = float(size.pow(2).mean().sqrt() / error.pow(2).mean().sqrt())
                scores[f"{key}_within_90"] = 100 * float(within)
            else:
                scores[f"{key}_deviation"] = scores[f"{key}_within_90"] = math.nan
        flair = torch.zeros(maps.shape[:3], dtype=torch.float64)
        known = (maps > 0).all(-1)  # splines overshoot
        flair[known] = CONTRASTS["FLAIR"](maps[known])
        white = float(np.percentile(self.flair, 99.5))
        scores["flair_ssim"] = structural_similarity(self.flair, flair.numpy(), self.brain, white)
        p = self.problem
        signals = torch.zeros_like(p.estimate)
        signals[:, known & p.mask] = REFERENCE(maps[known & p.mask]).T
        inside = p.operator(p.mask.double()) > 0.99  # what is measured outside of the head is no map's
        missed, largest = (p.operator(signals) - p.measured)[:, inside], p.measured.amax((1, 2, 3))
        scores["residual"] = float((missed.pow(2).mean(1).sqrt() / largest).max())
        return scores


def posed(config: QmriConfig) -> tuple[Problem, Volumes]:
    given, domain, signals = read_given(config)
    return pose(signals, given.maps, domain, config), given.maps


def soft_anchor(
    problem: Problem, start: Tensor, maps: Volumes, guides: list[WeightedImage], steps: int = 150
) -> Tensor:
    """A fit of each voxel's maps to two losses: slices of the maps, and images synthesised from them.

    In the manner of Samadifardheris et al., from what their abstract says; gains are least squares of the whole image.
    """
    low = torch.from_numpy(maps.values)
    logs = start.clamp(min=1e-3).log().clone().requires_grad_(True)
    scale = low[low[..., 0] > 0].mean(0)
    inside = problem.mask
    optimiser = torch.optim.Adam([logs], lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        found = logs.exp()
        thick = problem.operator(found.movedim(-1, 0)).movedim(0, -1)
        loss = (((thick - low) / scale)[low[..., 0] > 0] ** 2).mean()
        for guide in guides:
            image, seen = guide.image[inside], guide.sequence(found[inside])
            gain = (image * seen).sum().detach() / (seen * seen).sum().detach()
            loss = loss + (((image / gain - seen) / seen.detach().mean()) ** 2).mean()
        loss.backward()
        optimiser.step()
    return logs.detach().exp()


def lesion_contrasts(seed: int, acquisition: Acquisition, well: Head) -> list[dict[str, Any]]:
    """What is seen of a lesion in T1 and T2, over what there is of it: that by which maps of the well head differ."""
    ill = Head(seed, acquisition, ill=True)
    inside = torch.from_numpy(well.lesion)
    there = (ill.truth - well.truth)[inside].mean(0)
    guides, guides_ill = list(well.guides.values()), list(well.guides_ill.values())
    lines, none = [], list[WeightedImage]()
    for name, head, shown_by in (
        ("in both, no guide", ill, none),
        ("in both", ill, guides_ill),
        ("in the maps only", ill, guides),
        ("in the guides only", well, guides_ill),
    ):
        before = sharpen_maps(well.problem, guides if shown_by else none).maps
        seen = (sharpen_maps(head.problem, shown_by).maps - before)[inside].mean(0)
        t1, t2 = (round(float(100 * seen[k] / there[k]), 1) for k in (1, 2))
        row = {"seed": seed, "acquisition": acquisition.name, "lesion": name}
        lines.append({**row, "t1_percent": t1, "t2_percent": t2})
        print(f"{seed} {acquisition.name} lesion {name:20s} T1 {t1:6.1f} %  T2 {t2:6.1f} %", flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--acquisitions", nargs="+", default=["5:6"], help="thickness:spacing in mm, or x2, x4")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="of the rows, by name")
    parser.add_argument("--samples", type=int, default=0, help="of one more row, with deviations from samples")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--lesions", type=Path, help="CSV of lesions in slices")
    options = parser.parse_args()
    lines: list[dict[str, Any]] = []
    lesions: list[dict[str, Any]] = []

    def add(seed: int, acquisition: Acquisition, method: str, scores: dict[str, float]) -> None:
        scores = {key: round(value, 4) for key, value in scores.items()}
        lines.append({"seed": seed, "acquisition": acquisition.name, "method": method, **scores})
        errors = "  ".join(
            f"{key} " + " ".join(f"{scores[f'{key}_{where}_rmse']:6.2f}" for where in ("grey", "white", "border"))
            for key in NAMES
        )
        sizes = " ".join(f"{scores[f'{key}_deviation']:.2f}" for key in NAMES)
        others = f"FLAIR {scores['flair_ssim']:.3f}  {scores['residual']:.0e}  deviation {sizes}"
        print(f"{seed} {acquisition.name} {method:32s} {errors}  {others}", flush=True)
        if options.csv:
            write_csv(options.csv, lines, list(lines[0]))

    as_they_are = not options.only or AS_THEY_ARE in options.only
    for seed in options.seeds:
        for acquisition in map(Acquisition, options.acquisitions):
            head = Head(seed, acquisition, as_they_are=as_they_are)
            for method, found in head.methods().items():
                if not options.only or method in options.only:
                    add(seed, acquisition, method, head.score(found()))
            if options.samples:
                drawn = Head(seed, acquisition, samples=options.samples)
                name = f"both, {options.samples} samples"
                add(seed, acquisition, name, drawn.score(sharpen_maps(drawn.problem, list(drawn.guides.values()))))
            if options.lesions and acquisition.factor == 1:
                lesions += lesion_contrasts(seed, acquisition, head)
                write_csv(options.lesions, lesions, list(lesions[0]))


if __name__ == "__main__":
    main()
