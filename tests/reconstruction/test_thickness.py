import json

import numpy as np
import pytest
from omegaconf import OmegaConf

from focvs.cli import main
from focvs.commands.overrides import compose, quote
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.thickness import load_profile
from focvs.scan.scan import read_scan
from runs import settings


def test_a_restoration_can_use_the_estimate(field_scan):
    scan = read_scan(field_scan)

    config = OmegaConf.to_object(compose("config", ["scan=x", "thickness=estimate"]))
    acquisition = model_acquisition(scan, config)
    told = acquisition.thickness
    assert told.source == "estimate"
    assert told.interval_mm[0] < told.thickness_mm < told.interval_mm[1]
    assert told.thickness_mm == pytest.approx(4.0, rel=0.2)
    (field_scan.parent / "scan.json").write_text(json.dumps({"SliceThickness": 1.5}))
    assert "says a thickness of 1.5 mm" in model_acquisition(scan, config).thickness.warnings[0]
    sampled = OmegaConf.to_object(compose("config", ["scan=x", "thickness=estimate"]))
    sampled.profile.kind = "sampled"
    with pytest.raises(InputError, match="has a width already"):
        model_acquisition(scan, sampled)
    assert main(["profile", str(field_scan), "profile.kind=sinc"]) == 1


def test_where_it_cannot_be_estimated_the_header_counts_and_the_run_says_so(thick_scan, tmp_path, capsys):

    config = OmegaConf.to_object(compose("config", ["scan=x", "thickness=estimate"]))
    thickness = model_acquisition(read_scan(thick_scan), config).thickness
    assert (thickness.thickness_mm, thickness.source) == (6.0, "spacing")
    assert any("could not be estimated" in warning for warning in thickness.warnings)
    assert main(["profile", str(thick_scan), str(tmp_path / "out")]) == 1
    assert "Restore it with a thickness= you know" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


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


def test_a_profile_that_is_not_one(tmp_path, thick_scan, tiny_prior):
    np.save(tmp_path / "p.npy", -np.ones(5))
    config = settings(thick_scan, tmp_path, tiny_prior, "profile=sampled", f"profile.path={tmp_path / 'p.npy'}")
    with pytest.raises(InputError, match="could not be used"):
        load_profile(config.profile, 4.0)
