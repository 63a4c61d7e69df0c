"""Pixels finer than the prior knows: averages and centres, and a result that is exact on the acquired pixels."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import write_scan
from omegaconf import OmegaConf

from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.commands.overrides import compose, quote
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.sampling.statistics import normal_quantile, replaced_noise
from focvs.scan.pixels import PixelGrid, coarsen, resolved_mm
from focvs.scan.scan import read_scan
from focvs.scan.slices import take_slices
from focvs.scan.units import white_level
from focvs.scan.zero_filling import averaging_gain, resolved_fraction

PIXEL = 0.4


@pytest.fixture
def fine_scan(tmp_path, phantom):
    """Axial, 0.4 x 0.4 mm, 55 x 63 pixels, 2 mm slices every 2.4 mm."""
    slices = simulate_slices(1000 * phantom[1][:55, :63], PIXEL, gaussian_profile(2.0), 2.4)
    affine = np.diag([-PIXEL, PIXEL, 2.4, 1.0])
    affine[:3, 3] = (11.0, -12.0, -13.0)
    return write_scan(tmp_path / "scan.nii.gz", slices, affine)


@pytest.mark.parametrize(
    ("sizes", "spacing", "known", "factors"),
    [
        ((0.4, 0.4), 5.0, (0.59, 1.4), (2, 2)),
        ((0.5, 0.5), 5.0, (0.59, 1.4), (1, 1)),  # hardly finer than what the prior knows
        ((0.16, 0.55), 5.0, (0.59, 1.4), (3, 1)),
        ((0.45, 0.45), 1.0, (0.59, 1.4), (1, 1)),  # slices too thin for coarser pixels
        ((0.7, 0.7), 5.0, (0.95, 1.05), (1, 1)),  # twice would be coarser than the prior knows
        ((0.5, 0.5), 5.0, (0.95, 1.05), (2, 2)),
        ((0.2, 0.2), 5.0, None, (1, 1)),
    ],
)
def test_pixels_are_averaged_just_enough(fine_scan, sizes, spacing, known, factors):
    grid = PixelGrid.for_range(replace(read_scan(fine_scan), in_plane_mm=sizes), spacing, known)
    assert grid.factors == factors
    assert grid.trivial == (factors == (1, 1))


def filled_with_zeros(image, axis, part):
    """The magnitude image a scanner makes of ``part`` of k-space, on a ``1 / part`` times larger matrix."""
    kept = np.fft.fftshift(np.fft.fft(image, axis=axis), axes=axis)
    n = image.shape[axis]
    spare = round(n / part) - n
    pad = [(0, 0)] * 3
    pad[axis] = (spare // 2, spare - spare // 2)
    return np.abs(np.fft.ifft(np.fft.ifftshift(np.pad(kept, pad), axes=axis), axis=axis)) / part


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("part", [0.5, 0.65, 0.8, 1.0])
def test_zero_filling_is_seen_in_the_spectrum(axis, part):
    slices = simulate_slices(head_phantom((112, 128, 96), seed=3)[1], 1.0, gaussian_profile(4.0), 4.0)
    scan = torch.from_numpy(filled_with_zeros(slices, axis, part)) if part < 1 else torch.from_numpy(slices)
    assert resolved_fraction(scan, axis) == pytest.approx(part, abs=0.03)
    assert resolved_fraction(scan, 1 - axis) == 1.0


def test_zero_filled_noise_is_found_and_averages_as_it_does(tmp_path):
    """White noise of the acquired matrix: the same estimate from the filled one, though it is smooth there."""
    rng = np.random.default_rng(0)
    clean = simulate_slices(1000 * head_phantom((112, 128, 96), seed=3)[0], 1.0, gaussian_profile(4.0), 4.0)
    acquired = clean + rng.normal(0, 20, clean.shape)
    filled = filled_with_zeros(filled_with_zeros(acquired, 0, 0.5), 1, 0.5)
    found = []
    for name, data, pixel in (("acquired", acquired, 1.2), ("filled", filled, 0.6)):
        affine = np.diag([pixel, pixel, 4.0, 1.0])
        scan = read_scan(write_scan(tmp_path / f"{name}.nii.gz", data.astype(np.float32), affine))
        slices = take_slices(scan, OmegaConf.to_object(compose("config", ["scan=x.nii"])))
        found.append(slices.noise_sigma * slices.scale / 2)
    assert found[1] == pytest.approx(found[0], rel=0.07)
    assert found[0] == pytest.approx(20, rel=0.3)  # the phantom has fine texture
    assert averaging_gain(2, 1.0) == pytest.approx(0.5**0.5, rel=1e-3)
    white = rng.normal(0, 1, (400, 256, 1))
    smooth = np.real(np.fft.ifft(np.pad(np.fft.fft(white, axis=1)[:, :64], [(0, 0), (0, 192), (0, 0)]), axis=1))
    smooth /= smooth.std()
    averaged = PixelGrid((1, 2), (400, 256)).average(torch.from_numpy(smooth))
    assert averaging_gain(2, 0.5) == pytest.approx(float(averaged.std()), rel=0.02)


def test_an_empty_scan_resolves_its_pixels():
    assert resolved_fraction(torch.zeros(40, 40, 12), 0) == 1.0


def test_a_scan_on_twice_its_matrix_is_worked_at_its_own_resolution(tmp_path):
    slices = simulate_slices(1000 * head_phantom((112, 128, 96), seed=3)[1], 1.0, gaussian_profile(4.0), 4.0)
    both = filled_with_zeros(filled_with_zeros(slices, 0, 0.5), 1, 0.5).astype(np.float32)
    scan = read_scan(write_scan(tmp_path / "scan.nii.gz", both, np.diag([0.6, 0.6, 4.0, 1.0])))
    assert PixelGrid.for_range(scan, 4.0, (0.59, 1.4)).factors == (2, 2)
    assert resolved_mm(scan) == pytest.approx((1.2, 1.2), rel=0.05)


def test_a_ramp_stays_where_it_is():
    """Averaged and spread again a plane is itself, away from the edges that are padded."""
    grid = PixelGrid((2, 3), (21, 32))
    ramp = (3.0 * torch.arange(21)[:, None] + 0.5 * torch.arange(32))[..., None].expand(-1, -1, 4)
    coarse = grid.average(ramp)
    assert coarse.shape == (11, 11, 4)
    for order, edge in ((1, 3), (3, 8)):
        again = grid.spread(coarse.numpy(), order)
        assert again.shape == ramp.shape
        inside = (slice(edge, -edge - 1), slice(edge, -edge - 1))
        assert np.allclose(again[inside], ramp[inside], atol=0.02)


def test_the_working_scan_covers_the_same_place(fine_scan):
    scan = read_scan(fine_scan)
    coarse = coarsen(scan, PixelGrid((2, 2), scan.data.shape[:2]))
    assert coarse.in_plane_mm == pytest.approx((0.8, 0.8)) and coarse.data.shape == (28, 32, scan.data.shape[2])
    first = nib.affines.apply_affine(scan.affine, [[0, 0, 0], [1, 1, 0]]).mean(0)
    assert nib.affines.apply_affine(coarse.affine, [0, 0, 0]) == pytest.approx(first)
    assert np.allclose(coarse.data[3, 5], scan.data[6:8, 10:12].mean((0, 1)), rtol=1e-5)
    assert "finer than the prior knows" in coarse.warnings[-1]


def run(scan, out, prior, *overrides):
    words = [f"scan={quote(str(scan))}", f"prior.path={quote(str(prior))}", f"output_dir={quote(str(out))}"]
    words += ["thickness=2", "samples=2", "steps=2", "progress=false", "save_samples=true", *overrides]
    paths = super_resolve(OmegaConf.to_object(compose("config", words)))
    images = {name: nib.load(path) for name, path in paths.items() if path.name.endswith(".gz")}
    return images, json.loads(paths["json"].read_text())


@pytest.mark.parametrize(("voxel", "axis", "wanted"), [("auto", 2, 0.8), ("0.4", 2, 0.4), ("auto", 0, 0.8)])
def test_the_result_is_exact_on_the_acquired_pixels(tmp_path, fine_scan, tiny_prior, voxel, axis, wanted):
    turned = nib.load(fine_scan)
    if axis == 0:  # sagittal slices: the same array with its axes named otherwise
        data, affine = np.moveaxis(np.asarray(turned.dataobj), 2, 0), turned.affine[:, [2, 0, 1, 3]]
        fine_scan = write_scan(tmp_path / "sagittal.nii.gz", data, affine)
    images, report = run(fine_scan, tmp_path / "out", tiny_prior, f"voxel={voxel}")
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert report["acquisition"]["in_plane_mm"] == pytest.approx([PIXEL, PIXEL])
    assert report["acquisition"]["worked_mm"] == pytest.approx([0.8, 0.8])
    assert any("finer than the prior" in w for w in report["warnings"])
    scan, mean = nib.load(fine_scan), images["mean"]
    assert np.delete(mean.shape, axis).tolist() == np.delete(scan.shape, axis).tolist()
    sizes = [PIXEL] * 3
    sizes[axis] = wanted
    assert mean.header.get_zooms() == pytest.approx(sizes, abs=1e-5)
    ends = [nib.affines.apply_affine(image.affine, (np.array(image.shape) - 1) / 2) for image in (scan, mean)]
    assert ends[0] == pytest.approx(ends[1], abs=0.5 * wanted)
    data = {name: np.asarray(image.dataobj) for name, image in images.items()}
    assert all(image.shape == mean.shape for image in data.values())
    samples = np.stack([data["sample-01"], data["sample-02"]])
    assert np.allclose(samples.mean(0), data["mean"], atol=0.02 * data["mean"].max())
    assert (data["q05"] <= data["q95"] + 1e-3).all() and data["std"].max() > 0


def test_noise_is_that_of_the_acquired_pixels(tmp_path, fine_scan, tiny_prior):
    _, given = run(fine_scan, tmp_path / "1", tiny_prior, "noise=12", "final_replacement=false", "samples=1")
    assert given["noise_sigma"] == pytest.approx(12)
    scan, written = read_scan(fine_scan), read_scan_like(tmp_path / "1" / "scan_focvs.nii.gz")
    config = OmegaConf.to_object(compose("config", [f"scan={quote(str(fine_scan))}", "thickness=2"]))
    operator = model_acquisition(scan, config, 0.8).written
    misfit = operator(torch.from_numpy(written).double()) - torch.from_numpy(scan.data)
    assert given["consistency"]["chi2"] == pytest.approx(float(misfit.square().mean()) / 144, rel=1e-3)


def test_exactness_is_decided_by_the_noise_of_the_acquired_pixels(tmp_path, fine_scan, tiny_prior):
    white = white_level(read_scan(fine_scan).data)
    for percent, exact in ((5, False), (3, True)):  # the averaged pixels have half of it
        out = tmp_path / str(percent)
        _, report = run(fine_scan, out, tiny_prior, f"noise={percent / 100 * white}", "samples=1", "steps=1")
        assert report["consistency"]["final_replacement"] is exact
        assert (report["consistency"]["relative_residual"] < 1e-5) is exact


def test_intervals_take_over_the_noise_of_the_acquired_pixels(tmp_path, fine_scan, tiny_prior):
    images, report = run(fine_scan, tmp_path / "out", tiny_prior, "noise=3000", "final_replacement=true")
    data = {name: np.asarray(images[name].dataobj) for name in ("mean", "q05", "q95", "std")}
    config = OmegaConf.to_object(compose("config", [f"scan={quote(str(fine_scan))}", "thickness=2"]))
    operator = model_acquisition(read_scan(fine_scan), config, 0.8).written
    taken_over = normal_quantile(0.9) * replaced_noise(operator, report["noise_sigma"]).numpy()
    sampled = data["std"] > 0
    assert sampled.mean() > 0.2
    ratio = ((data["q95"] - data["mean"]) / taken_over)[sampled]
    assert ratio.min() >= 0.999 and np.median(ratio) == pytest.approx(1, abs=0.02)
    assert (data["q05"] >= np.minimum(data["mean"], 0) - 1e-3).all()  # as the scan, though the noise reaches further


def read_scan_like(path):
    return np.asarray(nib.load(path).dataobj)


def test_a_zeroed_background_is_zero_in_every_image(tmp_path, fine_scan, tiny_prior):
    image = nib.load(fine_scan)
    data = np.asarray(image.dataobj).copy()
    data[data < 60] = 0
    images, _ = run(write_scan(tmp_path / "zeroed.nii.gz", data, image.affine), tmp_path / "out", tiny_prior)
    blank = (data == 0).all(-1)
    assert blank.mean() > 0.1
    for name, written in images.items():
        assert np.abs(np.asarray(written.dataobj)[blank]).max() == 0, name
