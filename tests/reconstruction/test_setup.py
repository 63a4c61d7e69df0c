from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from focvs.commands.overrides import compose
from focvs.errors import InputError
from focvs.priors.prior import Prior
from focvs.reconstruction.setup import choose_device, open_prior, require_fit, schedule, voxel_warnings
from focvs.scan.scan import read_scan
from runs import mean_prior


def test_devices_are_checked(monkeypatch):
    assert choose_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"
    with pytest.raises(InputError, match="device=abacus is not usable here"):
        choose_device("abacus")


def test_voxels_unlike_those_trained_on_are_said(thick_scan, tmp_path):
    scan = read_scan(thick_scan)
    trained = Prior(torch.nn.Identity(), None, "", tmp_path, voxel_range_mm=(0.6, 1.3))
    assert voxel_warnings(scan, trained) == []
    fine = replace(scan, affine=scan.affine @ np.diag([0.43 / 1.2, 0.43 / 1.2, 1.0, 1.0]))
    assert "0.43" in voxel_warnings(fine, trained)[0]
    rounded = replace(scan, affine=scan.affine @ np.diag([0.599 / 1.2, 0.599 / 1.2, 1.0, 1.0]))
    assert voxel_warnings(rounded, trained) == []
    assert voxel_warnings(fine, replace(trained, voxel_range_mm=None)) == []


def test_a_conditioned_prior_starts_from_more_noise_unless_told():
    config = OmegaConf.to_object(compose("config", ["scan=x", "quality=samples"]))
    told, alone = (float(schedule(config, conditioned=conditioned)[0]) for conditioned in (True, False))
    assert told > alone
    config.sampler.sigma_start = 0.4
    assert float(schedule(config, conditioned=True)[0]) == pytest.approx(0.4)
    config.steps = 0
    with pytest.raises(InputError, match="steps >= 1"):
        schedule(config)


def test_priors_that_cannot_be_are_refused(tiny_prior):
    def opened(*words):
        return open_prior(OmegaConf.to_object(compose("config", ["scan=x", *words])).prior, "cpu")

    assert opened(f"prior.path={tiny_prior}").scaling == "percentile"
    with pytest.raises(InputError, match="choose auto, percentile or maximum"):
        opened("prior.scaling=half")
    with pytest.raises(InputError, match=r"leave out prior\.scaling=maximum"):
        opened("prior.scaling=maximum")
    with pytest.raises(InputError, match=r"give prior\.path="):
        opened("prior=medforj")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps=5"], "has 2 stages"),
        (["quality=samples"], "cannot be sampled"),
        (["samples=2"], "has none; add quality=samples"),
    ],
)
def test_what_a_mean_cannot_do_is_refused_when_it_is_opened(words, message, tmp_path):
    mean = Prior(torch.nn.Identity(), None, "", tmp_path, True, samples=False, stages=(torch.nn.Identity(),))
    config = compose("config", ["scan=head.nii.gz", *words])
    with pytest.raises(InputError, match=message):
        require_fit(mean, config)


@pytest.mark.parametrize("words", [["sampler.steps=1"], ["quality=fast"]])
def test_samples_are_drawn_around_the_mean_of_all_stages(words, tmp_path):
    network = torch.nn.Identity()
    mean = Prior(network, None, "", tmp_path, True, samples=False, stages=(network,), residual=network)
    require_fit(mean, compose("config", ["scan=head.nii.gz", "samples=2"]))
    with pytest.raises(InputError, match="all 2 stages"):
        require_fit(mean, compose("config", ["scan=head.nii.gz", "samples=2", *words]))


def test_a_prior_need_not_be_told_of_the_scan(tiny_conditioned_prior, tmp_path):
    def opened(path, *words):
        config = OmegaConf.to_object(compose("config", ["scan=x", "quality=paper", f"prior.path={path}", *words]))
        return open_prior(config.prior, "cpu")

    assert not opened(tiny_conditioned_prior).conditioned
    assert opened(tiny_conditioned_prior, "prior.told=true").conditioned
    mean_prior(tmp_path / "mean")
    with pytest.raises(InputError, match=r"prior\.told=false is for priors that can be sampled"):
        opened(tmp_path / "mean")
