"""File to file with a tiny prior: exactness, headers, refusals; quality is for the benchmarks."""

import json

import diffusers
import nibabel as nib
import numpy as np
import pytest
import torch

from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.commands.overrides import compose, quote, to_schema
from focvs.errors import FocvsError, InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.voxels import blank_voxels
from focvs.scan.scan import read_scan
from runs import mean_prior, reread, settings
from scans import write_scan


@pytest.mark.parametrize(
    "overrides",
    [
        ["thickness=5"],
        ["thickness=4", "sampler=dpmpp_2m", "consistency=ddnm", "planes=alternate"],
        ["thickness=5", "profile=slr", "sampler=ddim", "planes=coronal", "voxel=1.2"],
        ["thickness=6", "profile=rect", "sampler=ddpm", "planes=sagittal"],
        ["thickness=6", "profile=kspace"],
    ],
    ids=lambda o: "-".join(o),
)
def test_the_written_volume_reproduces_the_scan(tmp_path, thick_scan, tiny_prior, overrides):
    config = settings(thick_scan, tmp_path / "out", tiny_prior, *overrides)
    paths = super_resolve(config)
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    # the same, by hand: degrade the file, compare with the scan
    scan = read_scan(thick_scan)
    written = model_acquisition(scan, config).written
    y = written(torch.from_numpy(reread(paths["mean"])).double()).numpy()
    assert np.abs(y - scan.data).max() <= 1e-5 * np.ptp(scan.data)
    assert report["consistency"]["max_abs_residual"] == pytest.approx(np.abs(y - scan.data).max(), rel=1e-3)


@pytest.mark.parametrize(
    "overrides", [[], ["sampler=dpmpp_2m", "planes=average"], ["consistency=ddnm", "batch=2"]], ids=str
)
def test_a_conditioned_prior_keeps_the_scan_too(tmp_path, thick_scan, tiny_conditioned_prior, overrides):
    paths = super_resolve(settings(thick_scan, tmp_path, tiny_conditioned_prior, "thickness=5", *overrides))
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert np.isfinite(reread(paths["mean"])).all()


def test_the_method_as_published_is_never_told_of_the_scan(tmp_path, thick_scan, tiny_conditioned_prior):
    given = [f"scan={quote(str(thick_scan))}", f"output_dir={quote(str(tmp_path / 'out'))}", "thickness=5"]
    given += [f"prior.path={quote(str(tiny_conditioned_prior))}", "steps=3", "figure=false", "report=false"]
    run = to_schema(compose("config", ["quality=paper", *given]))
    assert (run.sampler.name, run.sampler.sigma_start, run.consistency.rule, run.samples) == ("ddpm", 3.0, "ddnm", 1)
    report = json.loads(super_resolve(run)["json"].read_text())
    assert report["consistency"]["rule"] == "ddnm" and report["consistency"]["relative_residual"] <= 1e-5
    assert report["evaluations"] == 3 and report["config"]["prior"]["told"] is False


@pytest.mark.slow
@pytest.mark.parametrize("patch", ["[32,32,32]", "null"])
def test_a_3d_prior_goes_the_same_road(tmp_path, thick_scan, volumetric_bundle, patch):
    words = ["prior=monai", f"prior.patch={patch}", "thickness=5", "samples=1"]
    paths = super_resolve(settings(thick_scan, tmp_path, volumetric_bundle, *words))
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert not any("Wiener" in warning for warning in report["warnings"])


def test_a_foreign_2d_prior_scaled_to_the_maximum(tmp_path, thick_scan):
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "norm_num_groups": 4}
    network = diffusers.UNet2DModel(
        in_channels=1, out_channels=1, block_out_channels=(8, 8), layers_per_block=1, **blocks
    )
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "prior")
    words = ["prior=diffusers", "prior.scaling=maximum", "thickness=5", "samples=1"]
    paths = super_resolve(settings(thick_scan, tmp_path / "out", tmp_path / "prior", *words))
    assert json.loads(paths["json"].read_text())["consistency"]["relative_residual"] <= 1e-5


def test_everything_is_written_and_described(tmp_path, thick_scan, tiny_prior):
    before = thick_scan.read_bytes()
    config = settings(
        thick_scan,
        tmp_path / "out",
        tiny_prior,
        "thickness=5",
        "save_samples=true",
        "seed=7",
        "figure=true",
        "nonnegative=false",
    )
    paths = super_resolve(config)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    images = ["", "-std", "-nullstd", "-q05", "-q95", "-sample-01", "-sample-02"]
    assert names == {f"scan_focvs{i}.nii.gz" for i in images} | {"scan_focvs.png", "scan_focvs.json"}
    assert thick_scan.read_bytes() == before
    report = json.loads(paths["json"].read_text())
    assert report["acquisition"]["spacing_mm"] == pytest.approx(6)
    assert report["acquisition"]["gap_mm"] == pytest.approx(1)
    assert report["acquisition"]["source"] == "override"
    assert report["acquisition"]["fwhm_mm"] == 5
    assert 1 <= report["acquisition"]["condition_number"] < 2
    assert (report["seed"], report["samples"]) == (7, 2)
    assert report["config"]["thickness"] == 5
    assert report["config"]["planes"] == "alternate"
    assert len(report["prior"]["sha256"]) == 64
    seconds = report["seconds"]
    assert 0 < seconds["network"] <= seconds["sampling"] <= seconds["total"]
    assert 0 < seconds["replacement"] < seconds["sampling"]
    assert report["peak_memory_mib"] > 100
    assert report["noise_intensity"] > 0
    assert any("q05 and q95" in warning and "no intervals" in warning for warning in report["warnings"])
    mean, low, high = (reread(paths[k]) for k in ("mean", "q05", "q95"))
    std, null = reread(paths["std"]), reread(paths["nullstd"])
    assert (low <= high + 1e-3).all()
    assert (low - 1e-2 <= mean).all()
    assert (mean <= high + 1e-2).all()
    assert (null <= std).all()
    assert std.max() > 0
    samples = [reread(paths[f"sample-0{m}"]) for m in (1, 2)]
    assert np.allclose(np.mean(samples, axis=0), mean, atol=1e-3 * np.ptp(mean))


@pytest.mark.parametrize("axis", [0, 1])
def test_any_slice_axis_gives_the_same_volume(tmp_path, phantom, tiny_prior, axis):
    """Axial, then stored with the slice axis first or second: the voxels only change places."""
    slices = simulate_slices(1000 * phantom[1], 1.2, gaussian_profile(5.0), 6.0)
    affine = np.diag([1.2, 1.2, 6.0, 1.0])
    straight = write_scan(tmp_path / "a.nii.gz", slices, affine)
    order = [0, 1]
    order.insert(axis, 2)
    turned_affine = affine[:, [*order, 3]]
    turned = write_scan(tmp_path / "b.nii.gz", np.transpose(slices, order), turned_affine)
    first, second = (super_resolve(settings(p, tmp_path, tiny_prior))["mean"] for p in (straight, turned))
    assert np.allclose(np.transpose(reread(first), order), reread(second), atol=0.1)
    assert np.allclose(nib.load(second).affine, nib.load(first).affine[:, [*order, 3]], atol=1e-5)


def test_a_sample_does_not_depend_on_the_batch(tmp_path, thick_scan, tiny_prior):
    one = super_resolve(settings(thick_scan, tmp_path / "1", tiny_prior, "batch=1"))
    two = super_resolve(settings(thick_scan, tmp_path / "2", tiny_prior, "batch=2"))
    assert np.allclose(reread(one["mean"]), reread(two["mean"]), atol=0.05)
    assert np.allclose(reread(one["std"]), reread(two["std"]), atol=0.05)


def test_samples_around_a_mean_are_written_beside_it(tmp_path, thick_scan):
    mean_prior(tmp_path / "mean")
    words = ["quality=default", "samples=2", "sampler.levels=3", "thickness=5"]
    paths = super_resolve(settings(thick_scan, tmp_path / "out", tmp_path / "mean", *words))
    mean, first, second = (reread(paths[name]) for name in ("mean", "sample-01", "sample-02"))
    assert not np.array_equal(first, second) and not np.array_equal(first, mean)
    assert json.loads(paths["json"].read_text())["samples"] == 2


def test_a_zeroed_background_stays_zero(tmp_path, phantom, tiny_prior):
    slices = simulate_slices(1000 * phantom[1], 1.2, gaussian_profile(5.0), 6.0)
    slices[slices < 60] = 0  # the background
    slices[:, :9] = 0  # padding
    slices[30:34, 30:34, 3] = 0  # one dark place in the head is not blank
    scan = write_scan(tmp_path / "scan.nii.gz", slices, np.diag([1.2, 1.2, 6.0, 1.0]))
    config = settings(scan, tmp_path, tiny_prior, "thickness=5")
    paths = super_resolve(config)
    blank = (slices == 0).all(-1)
    assert blank.mean() > 0.2
    for name in ("mean", "std", "nullstd", "q05", "q95"):
        assert np.abs(reread(paths[name])[blank]).max() == 0, name
    mixed = blank_voxels(torch.from_numpy(read_scan(scan).data), model_acquisition(read_scan(scan), config).grid)
    mixed = mixed.numpy() & ~blank[..., None]
    assert mixed.sum() > 100  # zeroed above or below the head, where the last replacement reaches
    low, mean, high = (reread(paths[name])[mixed] for name in ("q05", "mean", "q95"))
    assert np.abs(high - mean).max() == np.abs(mean - low).max() == 0
    assert np.abs(reread(paths["std"])[30:34, 30:34]).min() > 0
    assert json.loads(paths["json"].read_text())["consistency"]["relative_residual"] < 1e-5


def test_results_go_beside_the_scan_by_default(thick_scan, tiny_prior):
    paths = super_resolve(settings(thick_scan, None, tiny_prior, "samples=1", "figure=false"))
    assert paths["mean"] == thick_scan.parent / "scan_focvs.nii.gz"
    assert "figure" not in paths


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("thickness=25", "from 0.6 to 24"),
        ("thickness=-1", "from 0.6 to 24"),
        ("spacing=0", "spacing"),
        ("voxel=7", "below the slice spacing"),
        ("voxel=thin", "not accepted; give a number or auto"),
        ("noise=loud", "not accepted; give a number or auto"),
        ("planes=axial", "coronal"),
        ("device=cuda:77", "not usable"),
        ("samples=0", "needs samples"),
        ("steps=0", "steps"),
        ("sampler.name=euler", "choose one of mean"),
        ("consistency.rule=hard", "choose one of calibrated"),
        ("profile.kind=sinc", "choose one of gaussian"),
        ("sampler.rho=0", "above 0"),
        ("sampler.eta=2", "between 0 and 1"),
        ("sampler.temperature=2", "between 0 and 1"),
        ("seed=-3", "at least 0"),
        ("spacing=.inf", "spacing"),
        ("spacing=1.1", "below the slice spacing"),
        ("prior.path=/nowhere", "missing"),
        ("prior.kind=keras", "choose one of focvs"),
        ("prior.scaling=white", "choose auto"),
        ("prior.scaling=maximum", "have the 99.5th percentile"),
        ("prior=medforj", "is not there"),
    ],
)
def test_refusals_leave_nothing(tmp_path, thick_scan, tiny_prior, override, words):
    out = tmp_path / "out"
    with pytest.raises(FocvsError, match=words) as caught:
        super_resolve(settings(thick_scan, out, tiny_prior, override))
    assert "\n" not in str(caught.value)
    # planes can only be checked against the scan once it is being restored
    assert not out.exists() or (override.startswith("planes") and not list(out.iterdir()))


def test_guidance_by_a_gradient_goes_the_same_road(tmp_path, thick_scan, tiny_conditioned_prior):
    """DPS comes nearer to the scan than no guidance at all, but not to the last digit."""
    residuals = []
    for guidance in (0.5, 1e-9):
        words = ["sampler=dps", "consistency=none", f"sampler.guidance={guidance}", "steps=4", "samples=1"]
        paths = super_resolve(settings(thick_scan, tmp_path, tiny_conditioned_prior, "thickness=5", *words))
        residuals.append(json.loads(paths["json"].read_text())["consistency"]["chi2"])
    assert 0 < residuals[0] < 0.9 * residuals[1]
    with pytest.raises(InputError, match="add consistency=none"):
        super_resolve(settings(thick_scan, tmp_path, tiny_conditioned_prior, "sampler=dps"))
