"""Devices other than the CPU: the same numbers where there is one, and nothing in float64 on the way anywhere."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from focvs.priors.condition import ScanNumbers
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.networks import HaarUNet2D
from focvs.priors.planes import AlternatedPlanes, PlaneDenoiser
from focvs.priors.pretrained import load_prior
from focvs.priors.volumetric import Orientation, VolumeDenoiser
from focvs.reconstruction.case import Case
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.restore import restore
from focvs.sampling.consistency import Consistency, Measured, Support
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.sampling.samplers import NoiseSource, make_sampler
from focvs.scan.scan import read_scan
from focvs.scan.slices import take_slices
from gaussian import Problem
from runs import settings

DEVICES = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


class WithoutFloat64(TorchDispatchMode):
    """A device that has no float64: any such tensor on ``meta`` is refused, as MPS refuses it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta" and tensor.dtype == torch.float64:
                raise TypeError(f"{func} made float64 on a device without it")
        return out


@pytest.mark.parametrize("name", ["dpmpp_2m", "resample", "ddim", "ddpm"])
@pytest.mark.parametrize("rule", ["calibrated", "ddnm", "none"])
def test_sampling_makes_no_float64_on_the_device(name, rule):
    problem = Problem(columns=24, slices=8)
    sigmas = karras_sigmas(3, 0.8, 0.05)
    n = problem.operator.matrix.shape[1]
    mask = torch.zeros(4, 6, n, dtype=torch.bool)
    mask[1:3, :, 5:-5] = True
    consistency = Consistency(
        rule, problem.operator, torch.ones(3, n, dtype=torch.float64), 0.02, Support.from_mask(mask), sigmas.tolist()
    )
    network = EDMDenoiser(HaarUNet2D(block_out_channels=(8, 8), norm_groups=4, slab=3, conditioned=True)).to("meta")
    background, noise = torch.empty(4, 6, n, device="meta"), NoiseSource(0)
    planes = [PlaneDenoiser(network, k, None, background, ScanNumbers(4.0, 4.0, 0.02), slab=3) for k in (0, 1)]
    measured = Measured(consistency, torch.empty(1, 4, 6, 8, device="meta"))
    sampler = make_sampler(name, measured, noise, operator=problem.operator)
    with WithoutFloat64(), torch.inference_mode():
        out = sampler(AlternatedPlanes(planes, sigmas), torch.empty(1, 4, 6, n, device="meta"), sigmas)
    assert out.device.type == "meta" and out.dtype == torch.float32 and out.shape == (1, 4, 6, n)


def test_a_fixed_field_of_view_makes_no_float64_on_the_device():
    denoise = VolumeDenoiser(lambda x, sigma: x, Orientation("RAS", "LPS"), None, (12, 12, 12))
    with WithoutFloat64():
        out = denoise(torch.empty(2, 6, 16, 9, device="meta"), 0.3)
    assert out.shape == (2, 6, 16, 9)


@pytest.mark.gpu
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sampler", ["resample", "dpmpp_2m"])
def test_a_device_gives_the_numbers_of_the_cpu(device, sampler, thick_scan, tiny_conditioned_prior):
    if not DEVICES[device]:
        pytest.skip(f"there is no {device} device here")
    scan = read_scan(thick_scan)
    config = settings(thick_scan, None, tiny_conditioned_prior, "thickness=5", f"sampler={sampler}")
    case = Case(scan, take_slices(scan), model_acquisition(scan, config), load_prior(tiny_conditioned_prior))
    here = restore(case, config)
    there = restore(replace(case, prior=load_prior(tiny_conditioned_prior, device), device=device), config)
    tolerance = 0.02 * case.slices.units.white  # bfloat16 in the network
    assert abs(here.mean - there.mean).max() < tolerance
    assert there.exact
