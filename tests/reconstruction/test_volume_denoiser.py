from dataclasses import replace

from focvs.reconstruction.plan import make_plan
from focvs.reconstruction.volume_denoiser import volume_denoiser
from runs import volumetric_prior


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
