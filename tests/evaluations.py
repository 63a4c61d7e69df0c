from omegaconf import OmegaConf

from focvs.commands.evaluate import evaluate_estimates
from focvs.commands.overrides import compose, to_overrides


def evaluate(*words):
    overrides = to_overrides([str(w) for w in words], ("truth", "estimates*"), "evaluate")
    return evaluate_estimates(OmegaConf.to_object(compose("evaluate", overrides)))
