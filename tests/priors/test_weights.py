import pickle

import pytest
import torch

from focvs.errors import PriorError
from focvs.priors.foreign import medforj_denoiser
from focvs.priors.pretrained import load_prior
from focvs.priors.weights import read_weights


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_is_unpickled(tmp_path):
    for name, writer in (("new.pt", torch.save), ("old.pt", lambda o, p: p.write_bytes(pickle.dumps(o)))):
        writer({"model": Bomb(tmp_path / "ran")}, tmp_path / name)
        with pytest.raises(PriorError, match=r"nothing of it was run|could not be read"):
            read_weights(tmp_path / name)
        with pytest.raises(PriorError):
            load_prior(tmp_path / name, kind="medforj")
    assert not (tmp_path / "ran").exists()


def test_other_files_are_refused(tmp_path):
    torch.save({"model": {"a": torch.zeros(3)}}, tmp_path / "small.pt")
    with pytest.raises(PriorError, match="does not fit the network"):
        medforj_denoiser(tmp_path / "small.pt")
    whole = (tmp_path / "small.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    for name in ("cut.pt", "cut.safetensors"):
        with pytest.raises(PriorError, match="could not be read"):
            read_weights(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(PriorError, match="no table of named weights"):
        read_weights(tmp_path / "list.pt")
    with pytest.raises(PriorError, match="is not there"):
        read_weights(tmp_path / "nowhere.pt")
    with pytest.raises(PriorError, match=r"kind=other is not known"):
        load_prior(tmp_path, kind="other")
