"""focvs qmri, on a small head of tissues, with networks by hand."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import focvs
from focvs.acquisition.tissue_head import tissue_maps
from focvs.acquisition.truncation import KSpaceTruncation
from focvs.cli import main
from focvs.reconstruction.signal_domain import REFERENCE
from focvs.signal.fitting import USUAL, fit_maps
from focvs.signal.sequences import SpinEcho
from runs import mean_prior
from scans import write_scan

T2W = {"RepetitionTime": 4.0, "EchoTime": 0.09, "ScanningSequence": "SE"}
THIN, THICK = np.diag([1.2, 1.2, 1.2, 1.0]), np.diag([1.2, 1.2, 6.0, 1.0])


@pytest.fixture
def folder(tmp_path, tmp_path_factory, monkeypatch):
    shipped = tmp_path_factory.mktemp("checkpoints")
    mean_prior(shipped / "mean2d")
    monkeypatch.setattr("focvs.reconstruction.setup.checkpoints_dir", lambda: shipped)
    maps = torch.from_numpy(tissue_maps(0, (48, 58, 40), 3.2)[0]).double()
    inside = maps[..., 0] > 0
    signals = torch.zeros(3, *inside.shape, dtype=torch.float64)
    signals[:, inside] = REFERENCE(maps[inside]).T
    measured = focvs.operator(slices=8, spacing_mm=6, thickness_mm=5, voxel_mm=1.2)(signals)
    low = torch.zeros(*measured.shape[1:], 3, dtype=torch.float64)
    seen = measured[0] > 0.01
    low[seen] = fit_maps(REFERENCE, measured[:, seen].T, USUAL, iterations=40).maps
    for k, name in enumerate(("pd", "t1", "t2")):
        write_scan(tmp_path / f"{name}.nii.gz", low[..., k].numpy().astype(np.float32), THICK)
    (tmp_path / "t1.json").write_text('{"SliceThickness": 5}')
    guide = torch.zeros(inside.shape, dtype=torch.float64)
    guide[inside] = 700 * SpinEcho(4.0, 0.09)(maps[inside])
    # centres of the outermost slices and voxels are not the same place
    affine = THIN.copy()
    affine[2, 3] = (1.2 - 6.0) / 2
    write_scan(tmp_path / "t2w.nii.gz", guide.numpy().astype(np.float32), affine)
    (tmp_path / "t2w.json").write_text(json.dumps(T2W))
    (tmp_path / "later.json").write_text(json.dumps(T2W | {"EchoTime": 0.12}))
    monkeypatch.chdir(tmp_path)
    return maps


WORDS = ["density=pd.nii.gz", "t1=t1.nii.gz", "t2=t2.nii.gz"]


def read(name):
    return np.asarray(nib.load(f"out/{name}.nii.gz").dataobj)


def test_maps_images_and_report_are_written(folder):
    # the guide has neither noise nor bias
    assert (
        main(
            [
                "qmri",
                "out",
                *WORDS,
                "guides=[t2w.nii.gz]",
                "guide_error=0.003",
                "align=headers",
                "synthesise=[later.json]",
            ]
        )
        == 0
    )
    report = json.loads(Path("out/qmri.json").read_text())
    assert report["residual"]["signals"] < 3e-3 and report["acquisition"]["thickness_mm"] == 5
    assert report["guides"][0]["gain"][1] == pytest.approx(700, rel=0.1)
    inside = folder[..., 0].numpy() > 0.3
    t2, truth = read("T2map"), folder[..., 2].numpy()[inside]
    assert t2.shape == (48, 58, 40)
    given = np.repeat(np.asarray(nib.load("t2.nii.gz").dataobj), 5, axis=2)[inside]
    assert np.median(np.abs(t2[inside] / truth - 1)) < 0.6 * np.median(np.abs(given / truth - 1))
    assert (read("T2map-std")[inside] > 0).mean() > 0.99
    expected = SpinEcho(4.0, 0.12)(torch.from_numpy(np.stack([read(n) for n in ("PDmap", "T1map", "T2map")], -1)))
    np.testing.assert_allclose(read("synthesised-later")[inside], expected.numpy()[inside], rtol=1e-3)
    assert nib.load("out/T1map.nii.gz").affine[2, 3] == pytest.approx((1.2 - 6.0) / 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["density=pd.nii.gz", "t1=t1.nii.gz", "t2=none.nii.gz"], "none.nii.gz does not exist"),
        ([*WORDS, "guides=[t1w.nii.gz]"], "t1w.nii.gz does not exist"),
        ([*WORDS, "signal_quality=paper"], "signal_quality=paper is not known; choose fast, default, best"),
        ([*WORDS, "seed=-3"], "seed=-3 must be at least 0"),
        ([*WORDS, "guides=[t1.nii.gz]"], "its sidecar has no RepetitionTime|does not say what sequence"),
        ([*WORDS, "guides=[pd.nii.gz]"], "pd.json could not be read"),
        ([*WORDS, "guides=[t2w.nii.gz]", "sequences=[spin_echo,null]"], "2 values for 1 guides"),
        ([*WORDS, "guides=[t2w.nii.gz]", "sequences=[radial]"], "radial is not known"),
        ([*WORDS, "guide_error=0"], "guide_error=0 must be above 0"),
        ([*WORDS, "thickness=90"], "does not fit slices every 6 mm"),
        ([], "at least one of density=, t1= and t2="),
        ([*WORDS, "images=[t2w.nii.gz]"], r"either images= or maps \(density=, t1=, t2=\), not both"),
        (["images=[t2w.nii.gz]", "domain=map"], "domain=map needs maps"),
        (["images=[t2w.nii.gz,t2w.nii.gz]"], "cannot tell proton density, T1 and T2 apart"),
        ([*WORDS, "domain=k_space"], "choose signal or map"),
        ([*WORDS, "align=affine"], "choose rigid or headers"),
        ([*WORDS, "samples=1"], "give 0, or at least 2"),
        ([*WORDS, "samples=2", "signal_quality=fast"], "samples=2 need signal_quality=default or best"),
        ([*WORDS, "truncation=[2,2]"], r"three whole numbers, such as truncation=\[1,2,2\]"),
        ([*WORDS, "truncation=[1,1,1]"], "not all 1"),
        ([*WORDS, "truncation=[1,1,2]", "thickness=5"], "leave out thickness=, spacing= and profile="),
    ],
)
def test_what_cannot_be_worked_with_is_one_sentence(folder, capsys, words, said):
    assert main(["qmri", "out", *words]) in (1, 2)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("focvs: ")]
    assert len(lines) == 1 and not Path("out").exists()
    assert re.search(said, lines[0]), lines[0]


def test_a_guide_of_elsewhere_is_refused(folder, capsys):
    image = nib.load("t2w.nii.gz")
    affine = image.affine.copy()
    affine[0, 3] += 40
    write_scan("t2w.nii.gz", np.asarray(image.dataobj), affine)
    assert main(["qmri", "out", *WORDS, "guides=[t2w.nii.gz]", "align=headers"]) == 1
    assert "26 % of the head in the scan, and 50 % are needed" in capsys.readouterr().err and not Path("out").exists()


def test_a_guide_of_half_the_head_is_refused(folder, capsys):
    image = nib.load("t2w.nii.gz")
    half = np.asarray(image.dataobj).copy()
    half[..., 26:] = 0
    write_scan("t2w.nii.gz", half, image.affine)
    assert main(["qmri", "out", *WORDS, "guides=[t2w.nii.gz]", "align=headers"]) == 1
    assert re.search(r"shows \d+ % of the head of the maps; a guide of the same head", capsys.readouterr().err)


def shifted(mm):
    """What an affine has more where an image is moved along its first axis."""
    affine = np.zeros((4, 4))
    affine[0, 3] = mm
    return affine


@pytest.mark.slow
def test_a_guide_that_moved_is_registered(folder):
    image = nib.load("t2w.nii.gz")
    write_scan("t2w.nii.gz", np.asarray(image.dataobj), image.affine + shifted(4))
    assert main(["qmri", "out", *WORDS, "guides=[t2w.nii.gz]"]) == 0
    (guide,) = json.loads(Path("out/qmri.json").read_text())["guides"]
    # the header moved it towards the right by 4 mm, and registration finds that
    assert abs(guide["translation_mm"][0]) == pytest.approx(4, abs=0.3) and guide["rotation_deg"] < 1


def test_one_map_is_enough_and_only_that_is_written(folder):
    assert main(["qmri", "out", "t1=t1.nii.gz", "guides=[t2w.nii.gz]", "align=headers", "signal_quality=fast"]) == 0
    names = {path.name for path in Path("out").iterdir()}
    assert names == {"T1map.nii.gz", "T1map-std.nii.gz", "qmri.png", "qmri.json", "qmri.html"}
    report = json.loads(Path("out/qmri.json").read_text())
    assert report["maps"] == ["T1map"] and report["residual"]["as_signals"] < 3e-3


def test_results_never_replace_what_they_are_made_from(folder, capsys):
    for name, source in (("PDmap", "pd"), ("T1map-std", "t1"), ("synthesised-later", "t2w")):
        path = Path("maps") / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(Path(f"{source}.nii.gz").read_bytes())
    before = {path: path.read_bytes() for path in Path("maps").iterdir()}
    shared = ["t2=t2.nii.gz", "synthesise=[later.json]"]
    for words in (
        ["density=maps/PDmap.nii.gz"],
        ["t1=maps/T1map-std.nii.gz"],
        ["guides=[maps/synthesised-later.nii.gz]"],
    ):
        if "guides" in words[0]:
            words = [*words, "sequences=[spin_echo]"]
            Path("maps/synthesised-later.json").write_text(json.dumps(T2W))
        assert main(["qmri", "maps", *shared, *words]) == 1
        assert "would be replaced by a result of that name" in capsys.readouterr().err
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.slow
def test_maps_of_an_earlier_run_do_not_stay_beside_those_of_a_later_one(folder):
    common = ["thickness=5", "signal_quality=fast"]
    assert main(["qmri", "out", "density=pd.nii.gz", "t1=t1.nii.gz", *common]) == 0
    Path("out/mine.nii.gz").write_bytes(b"mine")
    assert main(["qmri", "out", "t1=t1.nii.gz", *common]) == 0
    assert {path.name for path in Path("out").glob("*.nii.gz")} == {"T1map.nii.gz", "T1map-std.nii.gz", "mine.nii.gz"}


@pytest.mark.slow
def test_images_of_a_protocol_each_are_enough(folder):
    thick = focvs.operator(slices=8, spacing_mm=6, thickness_mm=5, voxel_mm=1.2)
    inside = folder[..., 0] > 0
    protocols = {"a": (0.6, 0.015), "b": (4.0, 0.015), "c": (4.0, 0.09)}
    for name, (tr, te) in protocols.items():
        signal = torch.zeros(inside.shape, dtype=torch.float64)
        signal[inside] = 900 * SpinEcho(tr, te)(folder[inside])
        write_scan(f"{name}.nii.gz", thick(signal).numpy().astype(np.float32), THICK)
        protocol = {"RepetitionTime": tr, "EchoTime": te, "SliceThickness": 5}
        Path(f"{name}.json").write_text(json.dumps(protocol))
    words = ["images=[a.nii.gz,b.nii.gz,c.nii.gz]", "image_sequences=[spin_echo,spin_echo,spin_echo]"]
    assert main(["qmri", "out", *words, "guides=[t2w.nii.gz]", "align=headers", "signal_quality=fast"]) == 0
    report = json.loads(Path("out/qmri.json").read_text())
    assert report["residual"]["signals"] < 3e-3 and report["acquisition"]["thickness_mm"] == 5
    core = inside.numpy() & (folder[..., 0].numpy() > 0.3)
    density = read("PDmap")[core] / (900 * folder[..., 0].numpy()[core])
    assert np.median(density) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_k_space_that_was_cut_off_is_told_by_its_factors(folder):
    operator = KSpaceTruncation(folder.shape[:3], (1, 2, 2))
    inside = folder[..., 0] > 0
    signals = torch.zeros(3, *inside.shape, dtype=torch.float64)
    signals[:, inside] = REFERENCE(folder[inside]).T
    measured = operator(signals)
    low = torch.zeros(*measured.shape[1:], 3, dtype=torch.float64)
    seen = (measured > 0.01).all(0)
    low[seen] = fit_maps(REFERENCE, measured[:, seen].T, USUAL, iterations=40).maps
    affine = np.diag([1.2, 2.4, 2.4, 1.0])
    for k, name in enumerate(("pd", "t1", "t2")):
        write_scan(f"{name}.nii.gz", low[..., k].numpy().astype(np.float32), affine)
    assert main(["qmri", "out", *WORDS, "truncation=[1,2,2]", "signal_quality=fast"]) == 0
    report = json.loads(Path("out/qmri.json").read_text())
    assert report["acquisition"]["truncation"] == [1, 2, 2] and report["residual"]["signals"] < 3e-3
    image = nib.load("out/T1map.nii.gz")
    assert image.shape == folder.shape[:3]
    np.testing.assert_allclose(image.affine[:3, 3], [0, -0.6, -0.6], atol=1e-5)  # the edges stay where they were
    core = folder[..., 0].numpy() > 0.3
    given = np.repeat(np.repeat(low[..., 1].numpy(), 2, axis=1), 2, axis=2)
    off, before = (np.median(np.abs(one[core] / folder[..., 1].numpy()[core] - 1)) for one in (read("T1map"), given))
    assert off < before
    assert (read("T1map-std")[core] > 0).mean() > 0.95


@pytest.mark.slow
def test_a_thickness_that_nobody_says_is_a_warning(folder):
    Path("t1.json").unlink()
    assert main(["qmri", "out", *WORDS, "signal_quality=fast", "profile=slr", "profile.time_bandwidth=6"]) == 0
    report = json.loads(Path("out/qmri.json").read_text())
    assert any("nothing says how thick its slices are" in warning for warning in report["warnings"])
    assert report["acquisition"]["profile"] == "slr" and report["acquisition"]["thickness_mm"] == pytest.approx(6)
