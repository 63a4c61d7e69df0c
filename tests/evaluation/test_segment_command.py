import json
import sys

import numpy as np
import pytest
from omegaconf import OmegaConf

from focvs.commands.evaluate import evaluate_estimates
from focvs.commands.overrides import compose, quote, to_overrides
from focvs.errors import InputError
from scans import write_scan
from tissues import AFFINE


def evaluate(*words):
    overrides = to_overrides([str(w) for w in words], ("truth", "estimates*"), "evaluate")
    return evaluate_estimates(OmegaConf.to_object(compose("evaluate", overrides)))


@pytest.fixture
def pair(tmp_path, layers):
    image = np.array([0, 400, 700, 1000])[layers] + np.random.default_rng(3).normal(0, 20, layers.shape)
    image[layers == 0] = 0
    truth = write_scan(tmp_path / "truth.nii.gz", image.astype(np.float32), AFFINE)
    shrunk = image.copy()
    shrunk[11:13] = np.where(layers[11:13] == 3, 700, shrunk[11:13])  # two of the innermost 18 layers are lost
    return truth, write_scan(tmp_path / "shrunk.nii.gz", shrunk.astype(np.float32), AFFINE)


def test_evaluate_tells_of_tissues(tmp_path, layers, pair, capsys):
    brain = write_scan(tmp_path / "brain.nii.gz", (layers > 0).astype(np.uint8), AFFINE)
    same, less = evaluate(pair[0], *pair, "tissues=3", f"brain={brain}", f"output={tmp_path / 'out'}")
    labels = less["segmentations"]["tissues"]["labels"]
    assert same["segmentations"]["tissues"]["mean_dice"] == 1
    assert labels["3"]["volume_error"] == pytest.approx(-2 / 18, abs=0.01)
    assert labels["3"]["dice"] == pytest.approx(2 * 16 / 34, abs=0.01) and labels["1"]["dice"] > 0.99
    assert "volume error %" in capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["estimates"][1]["segmentations"] == less["segmentations"]


def test_evaluate_runs_another_program(tmp_path, pair):
    script = tmp_path / "thresholds.py"
    script.write_text(
        "import sys, nibabel as nib, numpy as np\n"
        "image = nib.load(sys.argv[1])\n"
        "labels = np.digitize(image.get_fdata(), [200, 550, 850])[:, ::-1]\n"  # on other voxels, the same places
        "flip = image.affine @ np.array([[1, 0, 0, 0], [0, -1, 0, image.shape[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1]])\n"
        "nib.save(nib.Nifti1Image(labels.astype('int16'), flip), sys.argv[2])\n"
    )
    command = f"{sys.executable} {script} {{input}} {{output}}"
    same, less = evaluate(pair[0], *pair, f"segment_command={command}")
    assert same["segmentations"]["segment_command"]["mean_dice"] == 1
    labels = less["segmentations"]["segment_command"]["labels"]
    assert labels["3"]["volume_error"] == pytest.approx(-2 / 18, abs=1e-3) and set(labels) == {"1", "2", "3"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tissues=1"], "2 to 5"),
        (["brain={truth}"], "tissues=3"),
        (["tissues=3", "brain={other}"], "voxels of the truth"),
        (["segment_command=segment {input}"], "{output}"),
        (["segment_command=segment {input} {output} '"], "is no command"),
        (["segment_command='no-such-program {input} {output}'"], "could not be started"),
        (["segment_command={python} -c raise(ValueError(1)) {input} {output}"], "ValueError: 1"),
        (["segment_command={python} -c pass {input} {output}"], "wrote no"),
    ],
)
def test_bad_requests_are_one_sentence(tmp_path, pair, words, said):
    other = write_scan(tmp_path / "other.nii.gz", np.ones((20, 20, 20), np.uint8), AFFINE)
    places = {"{truth}": pair[0], "{other}": other, "{python}": sys.executable}
    for place, path in places.items():
        words = [word.replace(place, str(path)) for word in words]
    with pytest.raises(InputError, match=said):
        evaluate(*pair, *words)


def test_labels_of_the_head_alone_count(tmp_path, pair):
    """A program that labels the air as well: air is no tissue."""
    command = (
        f'{sys.executable} -c "import nibabel as nib, sys; i = nib.load(sys.argv[1]); '
        "nib.save(nib.Nifti1Image((i.get_fdata() * 0 + 4).astype('int16'), i.affine), sys.argv[2])\" {input} {output}"
    )
    (row,) = evaluate(*pair, f"segment_command={quote(command)}")
    assert list(row["segmentations"]["segment_command"]["labels"]) == ["4"]
