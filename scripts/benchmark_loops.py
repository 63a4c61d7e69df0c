"""What a sampler costs beside its network: our loop and those of diffusers, MONAI and deepinv on one network.

``python scripts/benchmark_loops.py [--steps 10] [--rounds 5] [--csv FILE]``. The network is an unconditional 2D
``UNet2DModel`` of diffusers on slices of a volume of noise, ``--steps`` evaluations each. The floor is as many forward
passes in the batches that our loop makes. Runs alternate, round after round, and the median of each over that of the
floor is printed: ratios within one run mean something on any machine. Loops that replace what a scan of 4 mm slices
says are ours (``ddnm``, ``diffpir``) and deepinv's (DDRM, DiffPIR; where it is installed); those of diffusers
(``DDIMScheduler``, as its pipelines step) and MONAI (``DiffusionInferer``) sample without a scan, and beside them ours
does too.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DModel
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDIMScheduler as MonaiDDIM
from torch import Tensor

from focvs.acquisition.grid import make_grid
from focvs.acquisition.interpolation import interpolation_matrix
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.parallel import in_parallel
from focvs.priors.foreign import TimestepNetwork
from focvs.priors.parameterisations import make_denoiser
from focvs.priors.planes import PIXELS_PER_BATCH, PlaneDenoiser
from focvs.priors.volumetric import Padded
from focvs.sampling.consistency import Consistency, Measured
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.sampling.samplers import NoiseSource, make_sampler

SLICES, PIXELS = 8, 96


class Convention(torch.nn.Module):
    """The network as MONAI calls it, with keywords."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor | None = None) -> Tensor:
        return self.network(x, timesteps)


def loops(steps: int) -> dict[str, Callable[[], Any]]:
    """Functions by name, the floor first."""
    torch.manual_seed(0)
    channels = (32, 64, 64)
    unet = UNet2DModel(
        in_channels=1,
        out_channels=1,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        norm_num_groups=8,
        add_attention=False,
    )
    network = TimestepNetwork(unet.eval().requires_grad_(False))
    profile = gaussian_profile(4.0)
    grid = make_grid(PIXELS // 4, 4.0, 1.0, profile.half_support_mm)
    operator = ThroughPlaneOperator(profile, grid)
    truth = torch.randn(SLICES, PIXELS, grid.total)
    scan = operator(truth)
    start = scan @ interpolation_matrix(operator).float().T
    sigmas = karras_sigmas(steps, 0.8, 0.05)
    schedule = DDIMScheduler(num_train_timesteps=1000)
    denoise = make_denoiser(network, "epsilon", schedule.alphas_cumprod)
    multiple = 2 ** (len(channels) - 1)
    plane = PlaneDenoiser(Padded(denoise, multiple), 0)
    images = torch.nn.functional.pad(start[:, None], (0, -grid.total % multiple))
    at_once = max(1, PIXELS_PER_BATCH // images[0].numel())

    def floor() -> None:
        told = torch.full((1,), 500.0)
        for _ in range(steps):
            torch.cat(
                in_parallel(lambda part: network(part, told.expand(len(part))), images.split(at_once), images.device)
            )

    def ours(name: str, rule: str) -> Callable[[], Tensor]:
        def run() -> Tensor:
            consistency = Consistency(rule, operator, None, 0.02, None, sigmas.tolist())
            noise = NoiseSource(0)
            sampler = make_sampler(name, Measured(consistency, scan[None]), noise, operator=operator)
            return sampler(plane, start[None] + float(sigmas[0]) * noise.like(start[None]), sigmas)

        return run

    def diffusers_pipeline() -> Tensor:
        schedule.set_timesteps(steps)
        x = torch.randn_like(images)
        for t in schedule.timesteps:
            x = schedule.step(network(x, t.expand(len(x))), t, x).prev_sample
        return x

    def monai_inferer() -> Tensor:
        scheduler = MonaiDDIM(num_train_timesteps=1000)
        scheduler.set_timesteps(steps)
        inferer, x = DiffusionInferer(scheduler), torch.randn_like(images)
        return inferer.sample(x, Convention(network), scheduler, verbose=False)

    found: dict[str, Callable[[], Any]] = {
        "floor: forward passes alone": floor,
        "ours, ddim, no scan": ours("ddim", "none"),
        "diffusers, DDIM, no scan": diffusers_pipeline,
        "MONAI, DDIM, no scan": monai_inferer,
        "ours, dpmpp_2m, ddnm": ours("dpmpp_2m", "ddnm"),
        "ours, ddpm, diffpir": ours("ddpm", "diffpir"),
    }
    try:
        import deepinv
        from deepinv.optim.data_fidelity import L2
        from deepinv.physics import DecomposablePhysics, GaussianNoise, LinearPhysics
        from deepinv.sampling import DDRM, DiffPIR
    except ImportError:
        print("deepinv is not installed: its loops are left out")
        return found
    matrix = operator.matrix.float()
    left, values, right = torch.linalg.svd(matrix)
    missing, model = right.shape[0] - len(values), GaussianNoise(sigma=0.01)

    def in_unit_range(x: Tensor, sigma: float | Tensor, **_: object) -> Tensor:
        level = max(2 * float(torch.as_tensor(sigma).flatten()[0]), 0.05)
        return (plane(2 * x[:, 0] - 1, min(level, 3.0))[:, None] + 1) / 2

    def their_ddrm() -> Tensor:
        physics = DecomposablePhysics(
            U=lambda s: s[..., : len(values)] @ left.T,
            U_adjoint=lambda s: torch.nn.functional.pad(s @ left, (0, missing)),
            V=lambda s: s @ right,
            V_adjoint=lambda x: x @ right.T,
            mask=torch.nn.functional.pad(values, (0, missing)).expand(1, 1, *start.shape).clone(),
            noise_model=model,
        )
        return DDRM(in_unit_range, sigmas=(sigmas / 2).numpy())(scan[None, None], physics, seed=1)

    def their_diffpir() -> Tensor:
        physics = LinearPhysics(A=lambda x: x @ matrix.T, A_adjoint=lambda s: s @ matrix, noise_model=model)
        method = DiffPIR(in_unit_range, L2(), sigma=0.01, max_iter=steps)
        return method(scan[None, None], physics, seed=1, x_init=start[None, None])

    version = deepinv.__version__
    return found | {f"deepinv {version}, DDRM": their_ddrm, f"deepinv {version}, DiffPIR": their_diffpir}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    runs = loops(options.steps)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for turn in range(options.rounds + 1):  # the first is not counted
            for name, run in runs.items():
                began = time.perf_counter()
                run()
                if turn:
                    seconds[name].append(time.perf_counter() - began)
    floor = statistics.median(seconds[next(iter(runs))])
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    rows = [
        {"loop": name, "ms_per_step": 1000 * median / options.steps, "over_floor": median / floor}
        for name, median in medians.items()
    ]
    for row in rows:
        print(f"{row['loop']:30s} {row['ms_per_step']:8.1f} ms a step {row['over_floor']:7.3f} of the floor")
    if options.csv:
        with options.csv.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ("loop", "ms_per_step", "over_floor"), lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
