import os

import pytest

from focvs.errors import InputError
from focvs.files import printable, require_reachable, write_atomically, write_json
from focvs.pipeline import super_resolve
from runs import settings


def test_output_that_cannot_be_written(tmp_path, thick_scan, tiny_prior):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        super_resolve(settings(thick_scan, tmp_path / "file", tiny_prior))


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path / "file" / "x.json", {})


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x.json", ".json", fail)
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_text_are_printable():
    assert printable("a b.nii") == "a b.nii"
    assert printable(b"k\xf6pf.nii".decode("utf-8", "surrogateescape")) == "k\ufffdpf.nii"


def test_places_that_cannot_be_are_seen_without_making_any(tmp_path):
    require_reachable(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a folder"):
        require_reachable(tmp_path / "file" / "out")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if not os.access(closed, os.W_OK):  # root may write anywhere
        with pytest.raises(InputError, match="no permission"):
            require_reachable(closed / "out")
