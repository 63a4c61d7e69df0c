"""Where added weights lie, and what is left of those that could not be added."""

from pathlib import Path

import huggingface_hub
import pytest

from focvs.errors import PriorError
from focvs.priors.own_weights import VARIABLE, add_weights, resolve, weights_dir


def test_the_folder_of_added_weights():
    assert weights_dir({VARIABLE: "/a/b"}) == Path("/a/b")
    assert weights_dir({"XDG_DATA_HOME": "/data"}) == Path("/data/focvs/weights")
    assert weights_dir({}) == Path.home() / ".local/share/focvs/weights"


def test_a_file_that_lies_here_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    assert resolve("mine") == "mine"
    (tmp_path / "source").mkdir()
    added = add_weights("mine", "source")
    assert resolve("mine") == str(added) and resolve("./mine") == "./mine"
    (tmp_path / "mine").mkdir()
    assert resolve("mine") == "mine"


def test_a_hub_without_a_network_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    def unreachable(repository, local_dir, allow_patterns):
        Path(local_dir).mkdir()
        assert "*.bin" not in allow_patterns and "*.py" not in allow_patterns
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(PriorError, match="could not be fetched as the repository of a hub"):
        add_weights("mine", "someone/something")
    assert list(tmp_path.iterdir()) == []
