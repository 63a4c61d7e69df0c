"""Which consistency rule a run takes, and what its result keeps of the scan."""

import json

import numpy as np
import pytest

from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import rician, simulate_slices
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import LEAST_NOISE, model_acquisition
from focvs.scan.scan import read_scan
from focvs.scan.units import white_level
from runs import reread, settings
from scans import write_scan


def test_a_noisy_scan_is_not_reproduced_to_its_noise_unless_asked(tmp_path, phantom, tiny_prior):
    slices = simulate_slices(1000 * phantom[0], 1.2, gaussian_profile(5.0), 6.0)
    empty = (slices < 5).all(-1)
    slices = rician(slices, 60, np.random.default_rng(0)).astype(np.float32)
    scan = write_scan(tmp_path / "scan.nii.gz", slices, np.diag([1.2, 1.2, 6.0, 1.0]))

    def run(*more):
        words = ["thickness=5", "samples=1", "steps=1", *more]
        paths = super_resolve(settings(scan, tmp_path / "_".join(("out", *more)), tiny_prior, *words))
        report = json.loads(paths["json"].read_text())
        air.append(float(reread(paths["mean"])[empty].mean()))
        assert report["acquisition"]["rician_bias_removed"] == ("rician_bias=off" in " ".join(report["warnings"]))
        if "q05" in paths:  # not below zero where the scan as it was read is not
            assert (reread(paths["q05"]) >= np.minimum(reread(paths["mean"]), 0) - 1e-3).all()
        return report["consistency"]["relative_residual"], " ".join(report["warnings"])

    air = []
    residual, said = run("samples=2")
    assert residual > 1e-3 and "of the white level is more than the 4 %" in said and "rician_bias=off" in said
    residual, said = run("rician_bias=off")
    assert residual > 1e-3 and "of the white level is more than the 4 %" in said and "rician_bias" not in said
    assert 30 < air[1] - air[0] < 1.05 * 60 * np.sqrt(np.pi / 2)
    residual, said = run("final_replacement=true")
    assert residual < 1e-5 and "is carried over" in said and "final_replacement=false" in said
    assert "rician_bias" not in said
    residual, said = run("final_replacement=false")
    assert residual > 1e-3 and "white level" not in said
    residual, said = run("noise=30")
    assert residual < 1e-5 and "is carried over" in said
    residual, said = run("noise=5")
    assert residual < 1e-5 and "white level" not in said
    assert run("consistency=ddnm")[0] < 1e-5  # which is exact at every step


def test_overlapping_slices_switch_to_the_noise_aware_rule(tmp_path, phantom, tiny_prior):
    slices = simulate_slices(1000 * phantom[1], 1.2, gaussian_profile(6.0), 3.0)
    scan = write_scan(tmp_path / "scan.nii.gz", slices, np.diag([1.2, 1.2, 3.0, 1.0]))
    paths = super_resolve(settings(scan, tmp_path, tiny_prior, "thickness=6", "consistency=ddnm"))
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["rule"] == "calibrated"
    assert report["acquisition"]["condition_number"] > 10
    assert any("overlap" in w for w in report["warnings"])
    assert 0 < report["consistency"]["chi2"] < 30
    assert np.abs(reread(paths["mean"])).max() < 2 * np.ptp(slices)


def test_overlapping_slices_said_to_be_free_of_noise_are_taken_to_have_a_little(tmp_path, phantom, tiny_prior):
    """Without any every rule is exact, and exact replacement of these slices amplifies what noise there is."""
    slices = simulate_slices(1000 * phantom[1], 1.2, gaussian_profile(6.0), 3.0)
    scan = write_scan(tmp_path / "scan.nii.gz", slices, np.diag([1.2, 1.2, 3.0, 1.0]))
    little = LEAST_NOISE / 2 * white_level(read_scan(scan).data)
    words = ["thickness=6", "samples=1", "consistency=diffpir", "sampler=ddim"]
    runs = [super_resolve(settings(scan, tmp_path / str(n), tiny_prior, *words, f"noise={n}")) for n in (0, little)]
    assert np.array_equal(*(reread(paths["mean"]) for paths in runs))
    assert json.loads(runs[0]["json"].read_text())["consistency"]["relative_residual"] > 1e-4


@pytest.mark.parametrize("rule", ["diffpir", "ddnm_plus", "ddrm"])
@pytest.mark.parametrize(("thickness", "exact"), [(5, True), (9, False)], ids=["touching", "overlap"])
def test_the_noise_aware_rules_of_the_literature_run(tmp_path, phantom, tiny_prior, rule, thickness, exact):
    spacing = 6.0 if exact else 3.6
    slices = simulate_slices(1000 * phantom[1], 1.2, gaussian_profile(thickness), spacing)
    scan = write_scan(tmp_path / "scan.nii.gz", slices, np.diag([1.2, 1.2, spacing, 1.0]))
    words = [f"thickness={thickness}", f"consistency={rule}", "sampler=ddpm", "samples=1", "steps=3"]
    paths = super_resolve(settings(scan, tmp_path, tiny_prior, *words))
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["rule"] == rule
    assert (report["consistency"]["relative_residual"] < 1e-5) == exact
    assert any("overlap" in w for w in report["warnings"]) != exact
    assert np.isfinite(reread(paths["mean"])).all() and np.abs(reread(paths["mean"])).max() < 2 * np.ptp(slices)


@pytest.mark.parametrize("rule", ["ddnm_plus", "ddrm"])
def test_rules_that_are_samplers_of_their_own_name_the_one_they_need(tmp_path, thick_scan, tiny_prior, rule):
    with pytest.raises(InputError, match=f"consistency={rule} is an ancestral sampler.*add sampler=ddpm"):
        super_resolve(settings(thick_scan, tmp_path, tiny_prior, f"consistency={rule}"))


def test_extreme_overlap_stays_in_range(tmp_path, phantom, tiny_prior):
    """Condition number of half a million: nothing may be inverted on the way."""
    slices = simulate_slices(1000 * phantom[1], 1.2, gaussian_profile(10.0), 2.5)
    noisy = slices + np.random.default_rng(0).normal(0, 10, slices.shape).astype(np.float32)
    scan = write_scan(tmp_path / "scan.nii.gz", noisy, np.diag([1.2, 1.2, 2.5, 1.0]))
    config = settings(scan, tmp_path, tiny_prior, "thickness=10", "sampler=dpmpp_2m")
    assert model_acquisition(read_scan(scan), config).written.condition_number > 1e4
    mean = reread(super_resolve(config)["mean"])
    assert np.abs(mean).max() < 2 * np.ptp(slices)


def test_no_replacement_where_none_was_asked_for(tmp_path, thick_scan, tiny_prior):
    paths = super_resolve(settings(thick_scan, tmp_path, tiny_prior, "consistency=none", "sampler=ddim", "samples=1"))
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["relative_residual"] > 1e-3
    assert "std" not in paths
