r"""Our rules beside deepinv's own DDRM and DiffPIR, on the same prior, scan and number of evaluations of the network.

``python scripts/compare_deepinv.py TRUTH [options]``, in an environment with both projects
(``pip install . deepinv``; deepinv is BSD-3-Clause). deepinv gets our denoiser, its images in [0, 1], and our operator
by its singular value decomposition (DDRM) or as a linear map with its adjoint (DiffPIR, whose proximal step is then
iterative). deepinv 0.5 divides the fresh noise of DDRM by sqrt(2), which the paper does not; ours is run both ways, as
less noise has the better PSNR. Printed are PSNR in the head, seconds a step, and of those the seconds outside the
network.

    python scripts/compare_deepinv.py $EVAL/ms07_FLAIR.nii.gz --box 32 --csv docs/results/deepinv.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepinv
import numpy as np
import torch
from deepinv.optim.data_fidelity import L2
from deepinv.physics import DecomposablePhysics, GaussianNoise, LinearPhysics
from deepinv.sampling import DDRM, DiffPIR
from omegaconf import OmegaConf
from torch import Tensor

from benchmark_quality import degraded_box
from focvs.commands.overrides import compose
from focvs.evaluation.metrics import peak_signal_to_noise
from focvs.pipeline import super_resolve
from focvs.reconstruction.case import Case
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.plan import make_plan
from focvs.reconstruction.rules import make_rule
from focvs.reconstruction.setup import open_prior
from focvs.reconstruction.timing import Stopwatch
from focvs.reconstruction.volume_denoiser import volume_denoiser
from focvs.run_config import RunConfig
from focvs.sampling import spectral
from focvs.sampling.consistency import Measured, ReplacementRule
from focvs.sampling.samplers import NoiseSource, ddpm
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_last, read_nifti
from focvs.scan.slices import take_slices
from focvs.scan.units import white_level

LARGEST = 3.0  # noise level the prior was trained up to (sigma_range in conf/train.yaml)
LINE = "{method:34s} {psnr_db:6.2f} dB {seconds_per_step:7.2f} s a step, {outside_network:7.3f} outside the network"
COLUMNS = ("method", "steps", "psnr_db", "seconds_per_step", "outside_network")


class QuieterDDRM(spectral.DDRM):
    """With less fresh noise than the paper has."""

    def renoise(self, x: Tensor, denoised: Tensor, clean: Tensor, level: int, noise: Tensor) -> Tensor:
        return super().renoise(x, denoised, clean, level, noise / 2**0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--slices", default="4:4", help="thickness:spacing in mm")
    parser.add_argument("--box", type=int, default=32, help="restore only this many middle voxels of the first axis")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--noise", type=float, default=0.01, help="of the scan, fraction of the 99.5th percentile")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(options, Path(folder))
    if options.csv:
        with options.csv.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def compare(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    scan, truth, voxel = degraded_box(options.truth, options.slices, options.box, folder, options.noise)
    words = [f"scan={scan.path}", f"voxel={voxel}", f"steps={options.steps}", "samples=1", f"output_dir={folder}"]
    words += ["quality=samples", "figure=false", "report=false", "progress=false"]
    config: RunConfig = OmegaConf.to_object(compose("config", words))
    ancestral: RunConfig = OmegaConf.to_object(compose("config", [*words, "sampler=ddpm"]))
    acquisition = model_acquisition(scan, config)
    scale = white_level(truth)
    mask = head_mask(truth, scale)

    prior = open_prior(config.prior, "cpu")
    slices = take_slices(scan)
    operator, y, noise = acquisition.sampled, slices.y, slices.noise_prior
    case = Case(scan, slices, acquisition, prior)
    plan, start = make_plan(case, ancestral), case.start
    sigmas, clock = plan.sigmas, Stopwatch()
    network = prior.in_units_of(slices.units.white, float(scan.data.max()))
    denoise = clock.timed("network", volume_denoiser(case, network, config, plan))

    def ours(consistency: ReplacementRule) -> Tensor:
        source = NoiseSource(1)
        x = start[None] + float(sigmas[0]) * source.like(start[None])
        return ddpm(denoise, x, sigmas, consistency=Measured(consistency, y[None]), noise=source)

    def rule(name: str) -> ReplacementRule:
        return make_rule(name, config.consistency, operator, sigmas, noise, None, None)

    def in_unit_range(x: Tensor, sigma: float | Tensor, **_: object) -> Tensor:
        level = max(2 * float(torch.as_tensor(sigma).flatten()[0]), float(sigmas[-1]))
        noisy = 2 * x[:, 0] - 1
        if level > LARGEST:  # shrunk around the interpolated scan to the most noise the prior knows
            noisy, level = start[None] + (noisy - start[None]) * (LARGEST / level), LARGEST
        return (denoise(noisy, level)[:, None] + 1) / 2

    unit, first = ((y + 1) / 2)[None, None], ((start + 1) / 2)[None, None]
    matrix = operator.matrix.float()
    model = GaussianNoise(sigma=noise / 2)

    def their_ddrm() -> Tensor:
        # deepinv wants all singular vectors of the volume, and their values for every voxel
        left, values, right = torch.linalg.svd(matrix)
        missing = right.shape[0] - len(values)
        physics = DecomposablePhysics(
            U=lambda s: s[..., : len(values)] @ left.T,
            U_adjoint=lambda s: torch.nn.functional.pad(s @ left, (0, missing)),
            V=lambda s: s @ right,
            V_adjoint=lambda x: x @ right.T,
            mask=torch.nn.functional.pad(values, (0, missing)).expand(first.shape).clone(),
            noise_model=model,
        )
        return DDRM(in_unit_range, sigmas=(sigmas / 2).numpy())(unit, physics, seed=1)[:, 0] * 2 - 1

    def their_diffpir() -> Tensor:
        physics = LinearPhysics(A=lambda x: x @ matrix.T, A_adjoint=lambda s: s @ matrix, noise_model=model)
        method = DiffPIR(in_unit_range, L2(), sigma=noise / 2, max_iter=options.steps)
        return method(unit, physics, seed=1, x_init=first)[:, 0] * 2 - 1

    runs: dict[str, Callable[[], Tensor]] = {
        "DDRM, ours": lambda: ours(rule("ddrm")),
        "DDRM, ours, fresh noise / sqrt(2)": lambda: ours(QuieterDDRM(operator, sigmas.tolist(), noise)),
        f"DDRM, deepinv {deepinv.__version__}": their_ddrm,
        "DiffPIR, ours": lambda: ours(rule("diffpir")),
        f"DiffPIR, deepinv {deepinv.__version__}": their_diffpir,
    }
    restored = np.zeros(mask.shape, dtype=bool)
    restored[slices.region.crop] = True
    rows = []
    for name, run in runs.items():
        clock.seconds.clear()
        began = time.perf_counter()
        with torch.no_grad():
            out = acquisition.grid.crop(run())[0]
        seconds = (time.perf_counter() - began) / options.steps
        estimate = np.zeros_like(truth)
        estimate[slices.region.crop] = slices.units.from_prior(out).numpy()
        psnr = peak_signal_to_noise(truth, estimate, mask & restored, scale)
        numbers = (options.steps, psnr, seconds, seconds - clock.seconds["network"] / options.steps)
        rows.append(dict(zip(COLUMNS, (name, *numbers), strict=True)))
        print(LINE.format(**rows[-1]), flush=True)
    paths = super_resolve(config)
    took = json.loads(paths["json"].read_text())["seconds"]
    estimate = axis_last(*read_nifti(paths["mean"])[:2], scan.file_axis)[0]
    psnr = peak_signal_to_noise(truth, estimate, mask & restored, scale)
    each = took["sampling"] / options.steps
    numbers = (options.steps, psnr, each, each - took["network"] / options.steps)
    rows.append(dict(zip(COLUMNS, ("the default rule and sampler, ours", *numbers), strict=True)))
    print(LINE.format(**rows[-1]), flush=True)
    return rows


if __name__ == "__main__":
    main()
