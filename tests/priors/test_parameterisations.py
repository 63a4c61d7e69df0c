"""Every conversion against an analytic model: clean ~ N(mean, spread^2), whose best prediction is known in any form."""

import pytest
import torch

from focvs.priors.parameterisations import (
    EDM,
    PREDICTIONS,
    RECTIFIED,
    VARIANCE_PRESERVING,
    EDMPreconditioned,
    RectifiedFlow,
    VariancePreserving,
    make_denoiser,
)

MEAN, SPREAD = 0.3, 0.6
SIGMAS = torch.tensor([0.02, 0.1, 0.5, 2.0, 20.0], dtype=torch.float64)
TABLE = (1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)).cumprod(0)


def best(x, sigma):
    """E[clean | clean + sigma noise = x]."""
    s = sigma.view(-1, 1, 1, 1)
    return MEAN + SPREAD**2 / (SPREAD**2 + s**2) * (x - MEAN)


def predictor(prediction):
    """The perfect network of each kind, from its own noisy input and its own name of the noise level."""

    def network(noisy, timestep):
        if prediction in VARIANCE_PRESERVING:
            low = timestep.floor().long().clamp(0, 998)
            log_sigma = ((1 - TABLE) / TABLE).log() / 2
            sigma = (log_sigma[low] + (timestep - low) * (log_sigma[low + 1] - log_sigma[low])).exp()
            a = (1 / (1 + sigma**2)).sqrt().view(-1, 1, 1, 1)
            s = (1 - a**2).sqrt()
        elif prediction in RECTIFIED:
            s = (timestep / 1000).view(-1, 1, 1, 1)
            a, sigma = 1 - s, (s / (1 - s)).flatten()
        else:
            sigma = (4 * timestep).exp()
            total = (sigma**2 + 0.25).sqrt().view(-1, 1, 1, 1)
            x = noisy * total
            s = sigma.view(-1, 1, 1, 1)
            out = (best(x, sigma) - 0.25 / total**2 * x) / (0.5 * s / total)
            return out if prediction == "edm" else -out
        clean = best(noisy / a, sigma)
        noise = (noisy - a * clean) / s
        return {
            "epsilon": noise,
            "sample": clean,
            "v_prediction": a * noise - s * clean,
            "flow": noise - clean,
            "velocity": noise - clean,
            "velocity_reversed": clean - noise,
        }[prediction]

    return network


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_perfect_networks_become_the_best_denoiser(prediction):
    sigmas = SIGMAS if prediction not in VARIANCE_PRESERVING else SIGMAS[SIGMAS < 100]
    x = MEAN + torch.randn(len(sigmas), 1, 6, 7, dtype=torch.float64) * (SPREAD**2 + sigmas**2).sqrt().view(-1, 1, 1, 1)
    denoise = make_denoiser(predictor(prediction), prediction, TABLE)
    assert torch.allclose(denoise(x, sigmas), best(x, sigmas), rtol=1e-6, atol=1e-6)
    assert torch.allclose(denoise(x[:1], 0.5), best(x[:1], torch.tensor([0.5], dtype=x.dtype)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prediction", VARIANCE_PRESERVING)
def test_noise_below_the_schedule_is_still_removed_with_its_true_size(prediction):
    """The first timestep of the usual schedule is sigma 0.01; smaller ones are named timestep 0 but scaled truly."""
    seen = []

    def network(noisy, timestep):
        seen.append(timestep)
        return torch.zeros_like(noisy)

    denoise = VariancePreserving(network, TABLE, prediction)
    x = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    sigma = torch.tensor(0.001, dtype=torch.float64)
    a = 1 / (1 + sigma**2).sqrt()
    expected = {"epsilon": 1.0, "sample": 0.0, "v_prediction": a**2, "flow": a / (a + sigma * a)}[prediction]
    assert torch.allclose(denoise(x, sigma), torch.as_tensor(expected, dtype=torch.float64) * x)
    assert float(seen[0]) == 0


def test_edm_agrees_with_diffusers():
    from diffusers import EDMEulerScheduler

    x, out = torch.randn(2, 1, 1, 4, 4)
    for prediction, name in zip(EDM, ("epsilon", "v_prediction"), strict=True):
        scheduler = EDMEulerScheduler(prediction_type=name, sigma_data=0.4)
        denoise = EDMPreconditioned(lambda noisy, t: out, 0.4, prediction)
        assert torch.allclose(denoise(x, 0.7), scheduler.precondition_outputs(x, out, 0.7), atol=1e-6)


def test_reversed_velocity_agrees_with_monai():
    from monai.networks.schedulers import RFlowScheduler

    scheduler = RFlowScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(10)
    clean, noise = torch.randn(2, 1, 1, 4, 4, 4)
    noisy = scheduler.add_noise(clean, noise, torch.tensor([400]))
    velocity = clean - noise
    assert torch.allclose(scheduler.step(velocity, 400, noisy)[1], clean, atol=1e-5)
    denoise = RectifiedFlow(lambda x, t: velocity, "velocity_reversed")
    sigma = 0.4 / 0.6
    assert torch.allclose(denoise(clean + sigma * noise, sigma), clean, atol=1e-5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="score is not known"):
        make_denoiser(lambda x, t: x, "score")
    with pytest.raises(ValueError, match="noise schedule"):
        make_denoiser(lambda x, t: x, "epsilon")
    with pytest.raises(ValueError, match="descend"):
        VariancePreserving(lambda x, t: x, TABLE.flip(0), "epsilon")
    for wrong in (lambda: VariancePreserving(None, TABLE, "edm"), lambda: RectifiedFlow(None, "flow")):
        with pytest.raises(ValueError, match="is not one of"):
            wrong()
    with pytest.raises(ValueError, match="is not one of"):
        EDMPreconditioned(None, 0.5, "flow")
