import pytest

from focvs.cli import main
from focvs.commands.command_help import groups_of, help_of, keys_of, title_of
from focvs.config import SCHEMAS

COMMANDS = {
    "restore": "config",
    **{name: name for name in ("demo", "simulate", "calibrate", "evaluate", "sweep")},
    "profile": "estimate",
}


@pytest.mark.parametrize(("command", "name"), COMMANDS.items())
def test_every_key_and_choice_is_explained(capsys, command, name):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert out == help_of(name, command) and max(map(len, out.splitlines())) <= 100
    groups = {group.name for group in groups_of(name)}
    for key in SCHEMAS[name].__dataclass_fields__:
        assert f"  {key}=" in out or f"  {key}." in out or key in groups, key
    for key in keys_of(name):
        assert key.comment, key.name
    for group in groups_of(name):
        assert group.default in group.options and all(group.options.values()), group.name


def test_a_key_has_its_default_and_its_comment():
    keys = {key.name: key for key in keys_of("config")}
    assert keys["samples"].default == "0" and "posterior samples" in keys["samples"].comment
    assert keys["baseline.tv_iterations"].default == "20"
    assert not any(name.startswith(("hydra", "defaults")) for name in keys)
    what, usage = title_of("evaluate")
    assert what == "Estimates against the truth" and usage.startswith("focvs evaluate TRUTH ESTIMATE")


def test_help_can_be_asked_for_in_words(capsys):
    assert main(["help", "simulate"]) == 0
    assert "focvs simulate VOLUME OUTPUT" in capsys.readouterr().out
    assert main(["help"]) == 0
    assert "exit codes" in capsys.readouterr().out
