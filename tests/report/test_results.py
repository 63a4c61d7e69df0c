"""What a run leaves behind, and what it takes away."""

import nibabel as nib
import numpy as np
import pytest

from focvs.pipeline import super_resolve
from runs import reread, settings

IMAGES = {"mean", "std", "nullstd", "q05", "q95", "sample-01", "sample-02"}


def test_a_run_that_writes_fewer_files_removes_those_of_an_earlier_one(tmp_path, thick_scan, tiny_prior, caplog):
    """Of one sample there is no deviation and no interval, and maps of another mean would be taken for its own."""
    words = ["thickness=5", "save_samples=true"]
    first = super_resolve(settings(thick_scan, tmp_path, tiny_prior, *words, "figure=true"))
    assert set(first) == IMAGES | {"figure", "json"} and all(path.exists() for path in first.values())
    others = [tmp_path / "scan_spline-std.nii.gz", tmp_path / "scan_focvs-mine.nii.gz", tmp_path / "scan_focvs.txt"]
    for path in others:
        path.touch()
    with caplog.at_level("INFO"):
        second = super_resolve(settings(thick_scan, tmp_path, tiny_prior, *words, "samples=1"))
    assert set(second) == {"mean", "sample-01", "json"}
    gone = [path for name, path in first.items() if name not in second]
    assert not any(path.exists() for path in gone)
    assert all(f"removed {path.name}" in caplog.text for path in gone)
    assert all(path.exists() for path in [*second.values(), *others])


def test_deviations_are_those_of_the_written_samples(tmp_path, thick_scan, tiny_prior):
    for number, words in enumerate((["final_replacement=true"], ["final_replacement=false", "noise=60"])):
        run = settings(thick_scan, tmp_path / str(number), tiny_prior, "samples=3", "save_samples=true", *words)
        paths = super_resolve(run)
        samples = np.stack([reread(paths[f"sample-0{m}"]) for m in (1, 2, 3)])
        std, null = reread(paths["std"]), reread(paths["nullstd"])
        np.testing.assert_allclose(std, samples.std(0, ddof=1), atol=2e-3 * std.max())
        assert (null <= std).all() and null.max() > 0
        if not number:  # all samples reproduce one scan: they differ in what it says nothing about
            np.testing.assert_allclose(null, std, atol=1e-3 * std.max())


@pytest.mark.parametrize("method", ["spline", "focvs"])
def test_headers_are_true(tmp_path, thick_scan, tiny_prior, method):
    words = ["thickness=5", f"method={method}", "samples=1"]
    paths = super_resolve(settings(thick_scan, tmp_path, tiny_prior, *words))
    scan, volume = nib.load(thick_scan), nib.load(paths["mean"])
    assert volume.shape == (*scan.shape[:2], 60)
    assert volume.header.get_data_dtype() == np.float32
    for form in ("qform_code", "sform_code"):
        assert int(volume.header[form]) == int(scan.header[form])
    assert np.allclose(volume.header.get_qform(), volume.header.get_sform(), atol=1e-4)
    for index_scan, index_volume in ((-0.5, -0.5), (scan.shape[2] - 0.5, volume.shape[2] - 0.5)):
        here = scan.affine @ [3, 4, index_scan, 1]
        assert np.allclose(here, volume.affine @ [3, 4, index_volume, 1], atol=1e-4)
