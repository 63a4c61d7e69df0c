from dataclasses import replace

import pytest

from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction.plan import make_plan
from focvs.reconstruction.volume_denoiser import volume_denoiser
from runs import settings, volumetric_prior


@pytest.mark.parametrize("words", [["prior.patch=[32,32]"], ["prior.overlap=1"], ["prior.patch=[0,32,32]"]], ids=str)
def test_impossible_patches_are_refused(tmp_path, thick_scan, volumetric_bundle, words):
    with pytest.raises(InputError, match="cannot be"):
        super_resolve(settings(thick_scan, tmp_path, volumetric_bundle, "prior=monai", "thickness=5", *words))


def test_a_3d_prior_of_ours_sees_the_volume_in_every_turn(posed, tmp_path):
    case, config = posed
    case, seen = replace(case, prior=volumetric_prior(tmp_path / "prior")), []

    def network(x, sigma, scan):
        seen.append(x)
        return x

    plan = make_plan(case, config)
    config = replace(config, prior=replace(config.prior, patch=None))
    denoise = volume_denoiser(case, network, config, plan)
    for sigma in plan.sigmas:
        denoise(case.start[None], float(sigma))
    assert seen[0].shape[2:4] == seen[1].shape[3:1:-1]
    assert seen[0].shape[2] != seen[0].shape[3]
