"""File to file with a tiny prior: exactness, headers, refusals; quality is for the benchmarks."""

import json
from dataclasses import replace

import diffusers
import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import write_scan
from monai.networks.nets import DiffusionModelUNet
from omegaconf import OmegaConf

from focvs.acquisition.grid import make_grid
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.commands.overrides import compose, quote
from focvs.config import parse_auto
from focvs.errors import FocvsError, InputError
from focvs.pipeline import super_resolve
from focvs.priors.networks3d import HaarUNet3D
from focvs.priors.pretrained import Prior, save_prior
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.setup import choose_device, open_prior, voxel_warnings
from focvs.reconstruction.thickness import load_profile
from focvs.reconstruction.voxels import blank_voxels, volume_mask, voxel_window
from focvs.scan.head import find_region
from focvs.scan.scan import read_scan
from focvs.scan.units import white_level


def settings(scan, out, prior, *overrides):
    words = [f"scan={quote(str(scan))}", f"prior.path={quote(str(prior))}", "samples=2", "steps=2", "progress=false"]
    if out is not None:
        words.append(f"output_dir={quote(str(out))}")
    return OmegaConf.to_object(compose("config", [*words, *overrides]))


def reread(path):
    return np.asarray(nib.load(path).dataobj)


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


@pytest.fixture(scope="module")
def volumetric_bundle(tmp_path_factory):
    """An untrained 3D network, as MONAI writes one."""
    folder = tmp_path_factory.mktemp("bundle")
    numbers = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 4, 8, 8], "num_res_blocks": 1}
    numbers |= {"attention_levels": [False] * 4, "norm_num_groups": 4, "num_head_channels": 4}
    torch.manual_seed(0)
    network = DiffusionModelUNet(**numbers)
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    config = {"network_def": {"_target_": "DiffusionModelUNet"} | numbers}
    config["noise_scheduler"] = {"_target_": "DDPMScheduler", "prediction_type": "v_prediction"}
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("patch", ["[32,32,32]", "null"])
def test_a_3d_prior_goes_the_same_road(tmp_path, thick_scan, volumetric_bundle, patch):
    words = ["prior=monai", f"prior.patch={patch}", "thickness=5", "samples=1"]
    paths = super_resolve(settings(thick_scan, tmp_path, volumetric_bundle, *words))
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert not any("Wiener" in warning for warning in report["warnings"])


def test_only_a_prior_of_fixed_shape_has_to_make_do_with_a_wiener_filter(
    tmp_path, thick_scan, volumetric_bundle, monkeypatch
):
    def fixed(config, device):
        return replace(open_prior(config, device), shape=(64, 64, 64))

    monkeypatch.setattr("focvs.pipeline.open_prior", fixed)
    words = ["prior=monai", "thickness=5", "samples=1", "steps=2"]
    paths = super_resolve(settings(thick_scan, tmp_path, volumetric_bundle, *words))
    assert any("Wiener" in warning for warning in json.loads(paths["json"].read_text())["warnings"])


def test_a_conditioned_3d_prior_is_calibrated_on_the_scan(tmp_path, thick_scan, caplog):
    torch.manual_seed(0)
    save_prior(HaarUNet3D(channels=(8, 8), norm_groups=4, conditioned=True), tmp_path / "prior")
    words = ["prior=head3d", "thickness=5", "samples=1", "steps=2"]
    with caplog.at_level("INFO"):
        paths = super_resolve(settings(thick_scan, tmp_path / "out", tmp_path / "prior", *words))
    assert "error spectrum of the prior from" in caplog.text
    assert "voxels of the interpolated scan" in caplog.text
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert not any("error spectrum" in warning for warning in report["warnings"])


@pytest.mark.parametrize("words", [["prior.patch=[32,32]"], ["prior.overlap=1"], ["prior.patch=[0,32,32]"]], ids=str)
def test_impossible_patches_are_refused(tmp_path, thick_scan, volumetric_bundle, words):
    with pytest.raises(InputError, match="cannot be"):
        super_resolve(settings(thick_scan, tmp_path, volumetric_bundle, "prior=monai", "thickness=5", *words))


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
    config = settings(thick_scan, tmp_path / "out", tiny_prior, "thickness=5", "save_samples=true", "seed=7")
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
    assert report["seeds"] == [8, 9]
    assert report["config"]["thickness"] == 5
    assert report["config"]["planes"] == "alternate"
    assert len(report["prior"]["sha256"]) == 64
    seconds = report["seconds"]
    assert 0 < seconds["network"] <= seconds["sampling"] <= seconds["total"]
    assert 0 < seconds["replacement"] < seconds["sampling"]
    assert report["peak_memory_mib"] > 100
    assert report["noise_sigma"] > 0
    assert any("q05 and q95" in warning and "no intervals" in warning for warning in report["warnings"])
    mean, low, high = (reread(paths[k]) for k in ("mean", "q05", "q95"))
    std, null = reread(paths["std"]), reread(paths["nullstd"])
    assert (low <= high + 1e-3).all()
    assert (low - 1e-2 <= mean).all()
    assert (mean <= high + 1e-2).all()
    assert (null**2).sum() < (std**2).sum()
    assert std.max() > 0
    samples = [reread(paths[f"sample-0{m}"]) for m in (1, 2)]
    assert np.allclose(np.mean(samples, axis=0), mean, atol=1e-3 * np.ptp(mean))


def test_of_a_single_sample_there_is_no_interval(tmp_path, thick_scan, tiny_prior, caplog):
    older = [tmp_path / f"scan_focvs-{name}.nii.gz" for name in ("q05", "q95", "sample-02")]
    for path in older:
        path.touch()
    paths = super_resolve(settings(thick_scan, tmp_path, tiny_prior, "thickness=5", "samples=1", "save_samples=true"))
    assert set(paths) == {"mean", "std", "nullstd", "sample-01", "figure", "json"}
    assert f"of an earlier run, not of this: {', '.join(path.name for path in older)}" in caplog.text
    assert all(path.exists() for path in older)


def test_headers_are_true(tmp_path, thick_scan, tiny_prior):
    paths = super_resolve(settings(thick_scan, tmp_path, tiny_prior, "thickness=5"))
    scan, volume = nib.load(thick_scan), nib.load(paths["mean"])
    assert volume.shape[:2] == scan.shape[:2]
    assert volume.shape[2] == 60
    assert volume.header.get_data_dtype() == np.float32
    for form in ("qform_code", "sform_code"):
        assert int(volume.header[form]) == int(scan.header[form])
    assert np.allclose(volume.header.get_qform(), volume.header.get_sform(), atol=1e-4)
    for index_scan, index_volume in ((-0.5, -0.5), (scan.shape[2] - 0.5, volume.shape[2] - 0.5)):
        here = scan.affine @ [3, 4, index_scan, 1]
        assert np.allclose(here, volume.affine @ [3, 4, index_volume, 1], atol=1e-4)


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


def test_a_zeroed_background_stays_zero(tmp_path, phantom, tiny_prior):
    slices = simulate_slices(1000 * phantom[1], 1.2, gaussian_profile(5.0), 6.0)
    slices[slices < 60] = 0  # the background
    slices[:, :9] = 0  # padding
    slices[30:34, 30:34, 3] = 0  # one dark place in the head is not blank
    scan = write_scan(tmp_path / "scan.nii.gz", slices, np.diag([1.2, 1.2, 6.0, 1.0]))
    paths = super_resolve(settings(scan, tmp_path, tiny_prior, "thickness=5"))
    blank = (slices == 0).all(-1)
    assert blank.mean() > 0.2
    for name in ("mean", "std", "nullstd", "q05", "q95"):
        assert np.abs(reread(paths[name])[blank]).max() == 0, name
    assert np.abs(reread(paths["std"])[30:34, 30:34]).min() > 0
    assert json.loads(paths["json"].read_text())["consistency"]["relative_residual"] < 1e-5


def test_blank_voxels_are_far_from_every_slice_that_is_not_zero():
    grid = make_grid(10, 4.0, 1.0, keep_extent=False)
    scan = torch.ones(1, 1, 10)
    scan[..., :6] = 0
    expected = torch.zeros(40, dtype=torch.bool)
    expected[: 4 * 4] = True  # slices 0 to 3: two zero slices on both sides, or the end
    assert torch.equal(blank_voxels(scan, grid)[0, 0], expected)


def test_results_go_beside_the_scan_by_default(thick_scan, tiny_prior):
    paths = super_resolve(settings(thick_scan, None, tiny_prior, "samples=1", "figure=false"))
    assert paths["mean"] == thick_scan.parent / "scan_focvs.nii.gz"
    assert "figure" not in paths


def test_thickness_from_the_sidecar(tmp_path, thick_scan, tiny_prior):
    (thick_scan.parent / "scan.json").write_text('{"SliceThickness": 4.5}')
    paths = super_resolve(settings(thick_scan, tmp_path / "out", tiny_prior, "samples=1"))
    acquisition = json.loads(paths["json"].read_text())["acquisition"]
    assert (acquisition["thickness_mm"], acquisition["source"]) == (4.5, "sidecar")


def test_a_measured_profile(tmp_path, thick_scan, tiny_prior):
    z = np.linspace(-5, 5, 101)
    np.save(tmp_path / "my profile.npy", np.stack([z, np.exp(-(z**2) / 4)], 1))
    override = f"profile.path={quote(str(tmp_path / 'my profile.npy'))}"
    paths = super_resolve(settings(thick_scan, tmp_path, tiny_prior, "profile=sampled", override))
    report = json.loads(paths["json"].read_text())
    assert report["acquisition"]["profile"] == "sampled"
    width = 2 * 2 * np.sqrt(np.log(2))
    assert report["acquisition"]["fwhm_mm"] == pytest.approx(width, rel=1e-2)
    assert report["acquisition"]["thickness_mm"] == report["acquisition"]["fwhm_mm"]
    assert report["acquisition"]["gap_mm"] == pytest.approx(6 - width, abs=0.05)
    assert report["acquisition"]["source"] == "profile"
    assert report["consistency"]["relative_residual"] <= 1e-5
    thick_scan.with_name("scan.json").write_text('{"SliceThickness": 5, "SliceProfile": "rect"}')
    config = settings(thick_scan, tmp_path, tiny_prior, "profile=sampled", override)
    said = model_acquisition(read_scan(thick_scan), config).thickness.warnings
    assert "profile rect; sampled was used" in said[0] and "slices of 5 mm, the profile 3.3" in said[1]
    config.thickness = 5.0
    with pytest.raises(InputError, match="thickness=5 mm, but"):
        model_acquisition(read_scan(thick_scan), config)
    config.thickness = 3.33
    assert model_acquisition(read_scan(thick_scan), config).thickness.source == "override"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("thickness=25", "at most 24"),
        ("thickness=-1", "above 0"),
        ("spacing=0", "spacing"),
        ("voxel=7", "below the slice spacing"),
        ("voxel=thin", "not accepted; give a number or auto"),
        ("noise=loud", "not accepted; give a number or auto"),
        ("planes=axial", "coronal"),
        ("device=cuda:77", "not usable"),
        ("samples=0", "at least 1"),
        ("steps=0", "steps"),
        ("sampler.name=euler", "choose one of dpmpp_2m"),
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


def test_a_profile_that_is_not_one(tmp_path, thick_scan, tiny_prior):
    np.save(tmp_path / "p.npy", -np.ones(5))
    config = settings(thick_scan, tmp_path, tiny_prior, "profile=sampled", f"profile.path={tmp_path / 'p.npy'}")
    with pytest.raises(InputError, match="could not be used"):
        load_profile(config.profile, 4.0)


def test_output_that_cannot_be_written(tmp_path, thick_scan, tiny_prior):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        super_resolve(settings(thick_scan, tmp_path / "file", tiny_prior))


def test_region_window_and_mask(thick_scan, tiny_prior):
    scan = read_scan(thick_scan)
    padded = type(scan)(**{**scan.__dict__, "data": np.pad(scan.data, ((20, 0), (0, 30), (0, 4)))})
    region = find_region(padded, white_level(scan.data))
    inner = find_region(scan, white_level(scan.data))
    assert region.mask.shape[2] == 16
    assert 10 < region.crop[0].start <= 20
    assert region.crop[1].stop < 30 + scan.data.shape[1]
    assert region.slices.stop < 16
    assert region.mask.sum() == pytest.approx(inner.mask.sum(), rel=0.03)
    acquisition = model_acquisition(scan, settings(thick_scan, None, tiny_prior, "thickness=5"))
    grid = acquisition.grid
    window = voxel_window(grid, slice(2, 10))
    assert (window.start - grid.margin, window.stop - grid.margin) == (10, 50)
    assert voxel_window(grid, slice(0, 12)) == slice(0, grid.total)
    mask = torch.zeros(9, 9, 12, dtype=torch.bool)
    mask[4, 4, 3] = mask[4, 4, 6] = True
    wide = volume_mask(mask, grid)
    assert wide.shape == (9, 9, grid.total)
    assert wide[4, 4, grid.margin + 10 : grid.margin + 40].all()  # slices 2 to 7, the hole between filled
    assert not wide[4, 4, grid.margin + 42 :].any()
    assert wide[2, 6, grid.margin + 17]
    assert not wide[1, 4].any()


def test_small_helpers(thick_scan, tmp_path):
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda", "mps")
    assert parse_auto("voxel", "auto") is None
    assert parse_auto("voxel", "0.9") == 0.9
    with pytest.raises(InputError, match="voxel=thin is not a number"):
        parse_auto("voxel", "thin")
    scan = read_scan(thick_scan)
    trained = Prior(torch.nn.Identity(), None, "", tmp_path, voxel_range_mm=(0.6, 1.3))
    assert voxel_warnings(scan, trained) == []
    fine = type(scan)(**{**scan.__dict__, "in_plane_mm": (0.43, 0.43)})
    assert "0.43" in voxel_warnings(fine, trained)[0]
    assert voxel_warnings(fine, replace(trained, voxel_range_mm=None)) == []
