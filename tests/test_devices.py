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
from focvs.priors.residual_network import ResidualDenoiser, ResidualUNet2D, as_image, deviation_scale
from focvs.priors.volumetric import Orientation, VolumeDenoiser
from focvs.reconstruction.case import Case
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.residuals import told_less
from focvs.reconstruction.restore import restore
from focvs.sampling.around import MeasuredAround
from focvs.sampling.consistency import Consistency, Measured, Support
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.sampling.samplers import NoiseSource, dpmpp_2m, make_sampler
from focvs.sampling.spectral import DDRM, DDNMPlus
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


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device, ``meta`` standing for one: values read and tensors copied."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        values = [*args, *(kwargs or {}).values(), out]
        values += [v for value in values if isinstance(value, list | tuple) for v in value]  # such as indices
        tensors = [t for t in values if isinstance(t, torch.Tensor)]
        across = len({t.device.type for t in tensors if t.ndim}) > 1
        read = func is torch.ops.aten._local_scalar_dense.default and tensors[0].device.type == "meta"
        self.count += across or read
        return out


NAMES = ["dpmpp_2m", "resample", "ddim", "ddpm"]
RULES = ["calibrated", "ddnm", "diffpir", "none"]


def on_meta(name, rule, steps=3):
    """A sampler of slabs told of their scan on the meta device, and what is laid there before it starts."""
    problem = Problem(columns=24, slices=8)
    sigmas = karras_sigmas(steps, 0.8, 0.05)
    n = problem.operator.matrix.shape[1]
    mask = torch.zeros(4, 6, n, dtype=torch.bool)
    mask[1:3, :, 5:-5] = True
    if rule in ("ddnm_plus", "ddrm"):
        consistency = {"ddnm_plus": DDNMPlus, "ddrm": DDRM}[rule](problem.operator, sigmas.tolist(), 0.02)
    else:
        spectra = torch.ones(steps, n, dtype=torch.float64)
        support = Support.from_mask(mask)
        consistency = Consistency(rule, problem.operator, spectra, 0.02, support, sigmas.tolist())
    network = EDMDenoiser(HaarUNet2D(block_out_channels=(8, 8), norm_groups=4, slab=3, conditioned=True)).to("meta")
    background = torch.empty(4, 6, n, device="meta")
    numbers = ScanNumbers(4.0, 4.0, 0.02)
    planes = [PlaneDenoiser(network, k, None, background, numbers, slab=3, head=mask) for k in (0, 1)]
    measured = Measured(consistency, torch.empty(1, 4, 6, 8, device="meta"))
    sampler = make_sampler(name, measured, NoiseSource(0), operator=problem.operator)
    start = torch.empty(1, 4, 6, n, device="meta")

    def run():
        return sampler(AlternatedPlanes(planes, sigmas), start, sigmas)

    return run, lambda: consistency.prepare(start[0], steps)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", RULES)
def test_sampling_makes_no_float64_on_the_device(name, rule):
    run, _ = on_meta(name, rule)
    with WithoutFloat64(), torch.inference_mode():
        out = run()
    assert out.device.type == "meta" and out.dtype == torch.float32 and out.shape[:3] == (1, 4, 6)


PAIRS = [(name, rule) for name in NAMES for rule in RULES] + [("ddpm", "ddnm_plus"), ("ddpm", "ddrm")]


@pytest.mark.parametrize(("name", "rule"), PAIRS)
def test_no_step_waits_for_the_device(name, rule, monkeypatch):
    """The gains of all levels lie on the device; then nothing is read from it or copied to it."""
    monkeypatch.setattr(NoiseSource, "like", lambda self, x: torch.empty_like(x))  # a GPU draws its own
    run, prepare = on_meta(name, rule)
    waits = Waits()
    with torch.inference_mode():
        prepare()
        with waits:
            run()
    assert waits.count == 0


def test_no_step_of_samples_around_a_mean_waits():
    problem, sigmas = Problem(columns=24, slices=8), karras_sigmas(3, 20.0, 0.05)
    n = problem.operator.matrix.shape[1]
    network = ResidualUNet2D(slab=3, channels=(8, 12), blocks=(1, 1), embedding=16)
    denoise = ResidualDenoiser(network).to("meta")
    scan, mean, log = (torch.empty(4, 6, n, device="meta") for _ in range(3))
    numbers = ScanNumbers(4.0, 4.0, 0.02)
    further = mean, as_image(log)
    plane = PlaneDenoiser(denoise, 0, None, scan, numbers, slab=3, outside=0.0, further=further)
    rule = Consistency("calibrated", problem.operator, torch.ones(3, n, dtype=torch.float64), 0.02)
    measured = MeasuredAround(rule, torch.empty(1, 4, 6, 8, device="meta"), mean, deviation_scale(log))
    waits = Waits()
    with torch.inference_mode():
        rule.prepare(mean, 3)
        with waits, WithoutFloat64():
            found = dpmpp_2m(told_less(plane), torch.empty_like(mean)[None], sigmas, consistency=measured)
    assert waits.count == 0 and found.shape == (1, 4, 6, n)


def test_a_wait_is_noticed():
    waits = Waits()
    with waits:
        torch.ones(3).to("meta")
    assert waits.count == 1


def test_a_fixed_field_of_view_makes_no_float64_on_the_device():
    denoise = VolumeDenoiser(lambda x, sigma: x, Orientation("RAS", "LPS"), None, (12, 12, 12))
    with WithoutFloat64():
        out = denoise(torch.empty(2, 6, 16, 9, device="meta"), 0.3)
    assert out.shape == (2, 6, 16, 9)


@pytest.mark.gpu
@pytest.mark.parametrize("device", DEVICES)
def test_a_device_gives_the_mean_of_the_cpu(device, thick_scan, tiny_conditioned_prior):
    if not DEVICES[device]:
        pytest.skip(f"there is no {device} device here")
    scan = read_scan(thick_scan)
    config = settings(thick_scan, None, tiny_conditioned_prior, "thickness=5", "sampler=mean", "samples=0")
    case = Case(scan, take_slices(scan), model_acquisition(scan, config), load_prior(tiny_conditioned_prior))
    here = restore(case, config)
    there = restore(replace(case, prior=load_prior(tiny_conditioned_prior, device), device=device), config)
    tolerance = 0.02 * case.slices.units.white  # bfloat16 in the network
    assert abs(here.mean - there.mean).max() < tolerance
    assert there.exact
