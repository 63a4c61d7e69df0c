import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from fine_scans import PIXEL
from focvs.commands.overrides import compose, quote
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.refine import _with_noise
from focvs.sampling.statistics import normal_quantile, replaced_noise
from focvs.scan.scan import read_scan
from focvs.scan.units import white_level
from scans import write_scan


def run(scan, out, prior, *overrides):
    words = [f"scan={quote(str(scan))}", f"prior.path={quote(str(prior))}", f"output_dir={quote(str(out))}"]
    words += [
        "quality=samples",
        "precision=float32",
        "thickness=2",
        "samples=2",
        "steps=2",
        "progress=false",
        "save_samples=true",
        *overrides,
    ]
    paths = super_resolve(OmegaConf.to_object(compose("config", words)))
    images = {name: nib.load(path) for name, path in paths.items() if path.name.endswith(".gz")}
    return images, json.loads(paths["json"].read_text())


@pytest.mark.parametrize(("voxel", "axis", "wanted"), [("auto", 2, 0.8), ("0.4", 2, 0.4), ("auto", 0, 0.8)])
def test_the_result_is_exact_on_the_acquired_pixels(tmp_path, fine_scan, tiny_prior, voxel, axis, wanted):
    turned = nib.load(fine_scan)
    if axis == 0:  # sagittal slices: the same array with its axes named otherwise
        data, affine = np.moveaxis(np.asarray(turned.dataobj), 2, 0), turned.affine[:, [2, 0, 1, 3]]
        fine_scan = write_scan(tmp_path / "sagittal.nii.gz", data, affine)
    images, report = run(fine_scan, tmp_path / "out", tiny_prior, f"voxel={voxel}", "nonnegative=false")
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
    assert given["noise_intensity"] == pytest.approx(12)
    scan, written = read_scan(fine_scan), read_scan_like(tmp_path / "1" / "scan_focvs.nii.gz")
    config = OmegaConf.to_object(compose("config", [f"scan={quote(str(fine_scan))}", "thickness=2", "quality=samples"]))
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
    config = OmegaConf.to_object(compose("config", [f"scan={quote(str(fine_scan))}", "thickness=2", "quality=samples"]))
    operator = model_acquisition(read_scan(fine_scan), config, 0.8).written
    taken_over = normal_quantile(0.9) * replaced_noise(operator, report["noise_intensity"]).numpy()
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
    data = {name: np.asarray(written.dataobj) for name, written in images.items()}
    for name, written in data.items():
        assert np.abs(written[blank]).max() == 0, name
    same = (data["q05"] == data["q95"]) & ~blank[..., None]
    assert same.sum() > 100  # zeroed above or below the head
    assert (data["q95"] > data["mean"])[~blank].mean() > 0.5


@pytest.mark.parametrize("exact", [True, False])
def test_a_deviation_takes_over_the_noise_of_the_acquired_pixels(fine_scan, exact):
    config = OmegaConf.to_object(compose("config", [f"scan={quote(str(fine_scan))}", "thickness=2"]))
    written = model_acquisition(read_scan(fine_scan), config).written
    refinement = SimpleNamespace(
        exact=exact, acquisition=SimpleNamespace(written=written), working=SimpleNamespace(written=written)
    )
    deviation = np.full((3, 4, len(written.pseudo_inverse_matrix)), 10.0, dtype=np.float32)
    deviation[0] = 0
    found = _with_noise(deviation, refinement, 8.0, SimpleNamespace(noise_intensity=4.0))
    assert (found[0] == 0).all()
    if not exact:
        assert np.array_equal(found, deviation)
        return
    here, there = (replaced_noise(written, noise).numpy() for noise in (8.0, 4.0))
    expected = np.sqrt(100 + np.maximum(here**2 - there.mean() ** 2, 0))
    assert np.allclose(found[1:], expected, rtol=1e-5)
