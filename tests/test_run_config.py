"""The schema of a restoration and conf/config.yaml have the same keys."""

from dataclasses import fields

from focvs.commands.overrides import compose, to_schema
from focvs.run_config import Planes, RunConfig


def test_every_key_of_the_schema_is_in_the_configuration():
    config = to_schema(compose("config", ["scan=a.nii"]))
    assert isinstance(config, RunConfig) and config.planes is Planes.alternate
    composed = {str(key) for key in compose("config", ["scan=a.nii"])} - {"hydra"}
    assert {field.name for field in fields(RunConfig)} == composed
