import itertools

import pytest
from omegaconf import OmegaConf

from focvs.commands.overrides import compose
from focvs.config import SCHEMAS, conf_dir

SHIPPED = ("head2d", "mean2d", "unconditional2d")


def configurations():
    """Every file of conf/, with what it takes to compose it."""
    for path in sorted(conf_dir().rglob("*.yaml")):
        if path.relative_to(conf_dir()).parts[0] == "hydra":
            continue  # presets of launchers, which are Hydra's own (tests/commands/test_multirun.py)
        relative = path.relative_to(conf_dir())
        if len(relative.parts) == 1:
            yield relative.stem, []
        else:
            name = "train" if relative.parts[0] in ("network", "experiment") else "config"
            yield name, [f"{relative.parts[0]}={relative.stem}"]


@pytest.mark.parametrize(("name", "overrides"), list(configurations()), ids=str)
def test_every_configuration_composes_and_instantiates(name, overrides, monkeypatch, tmp_path):
    monkeypatch.setenv("FOCVS_DATA", "/data")
    config = compose(name, overrides)
    if name in SCHEMAS:
        missing = {"scan": "s.nii", "volume": "v.nii", "output": "o.nii", "data": "d", "truth": "t", "estimates": "[e]"}
        missing |= {"output_dir": "o", "density": "p.nii", "t1": "t1.nii", "t2": "t2.nii"}
        fill = [f"{k}={v}" for k, v in missing.items() if k in SCHEMAS[name].__dataclass_fields__]
        if overrides == ["profile=sampled"]:
            fill.append("profile.path=p.npy")
        settings = OmegaConf.to_object(compose(name, [*overrides, *fill]))
        assert isinstance(settings, SCHEMAS[name])
        if name == "config":
            from focvs.config import checkpoints_dir
            from focvs.priors.pretrained import KINDS
            from focvs.sampling.consistency import RULES
            from focvs.sampling.samplers import SAMPLERS
            from focvs.training.fine_tuning import METHODS

            assert settings.sampler.name in ("mean", *SAMPLERS)
            assert settings.consistency.rule in RULES
            assert settings.prior.kind in KINDS
            assert (checkpoints_dir() / settings.prior.name).is_dir() == (settings.prior.name in SHIPPED)
            assert settings.adaptation.method in METHODS
    else:
        from hydra.utils import instantiate

        assert instantiate(config.plan).steps == config.plan.steps
        assert sum(p.numel() for p in instantiate(config.network, _convert_="all").parameters()) > 1e6


@pytest.mark.parametrize("path", sorted((conf_dir() / "experiment").glob("*.yaml")), ids=lambda p: p.stem)
def test_an_experiment_overrides_the_training_configuration(path, monkeypatch):
    monkeypatch.setenv("FOCVS_DATA", "/data")
    config = OmegaConf.to_container(compose("train", [f"experiment={path.stem}"]), resolve=True)
    wanted = OmegaConf.to_container(OmegaConf.load(path))
    wanted.pop("defaults", None)

    def holds(part, whole):
        for key, value in part.items():
            if isinstance(value, dict):
                holds(value, whole[key])
            else:
                assert whole[key] == value, key

    holds(wanted, config)
    if path.stem == "head3d":
        assert config["network"]["_target_"].endswith("HaarUNet3D")


def test_every_key_has_a_comment():
    for path in conf_dir().rglob("*.yaml"):
        lines = path.read_text().splitlines()
        assert lines[0].startswith("#"), path
        exempt = ("defaults", "hydra", "network", "plan", "pool", "augmentation", "blocks", "sampler", "prior")
        for before, line in itertools.pairwise(lines):
            key = line.split(":")[0].strip()
            if line and line[0].isalpha() and ":" in line and key not in exempt:
                explained = before.startswith("#") or key in ("name", "rule", "kind")
                assert explained, f"{path}: {key} has no comment"
