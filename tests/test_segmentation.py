"""Tissue classes on images whose classes are known, their agreement, and other programs' labels."""

import json
import sys

import numpy as np
import pytest
from conftest import write_scan
from omegaconf import OmegaConf

from focvs.commands.evaluate import evaluate_estimates
from focvs.commands.overrides import compose, quote, to_overrides
from focvs.errors import InputError
from focvs.evaluation.segmentation import compare_labels, tissue_classes

AFFINE = np.diag([1.2, 1.2, 1.2, 1.0])


@pytest.fixture(scope="module")
def layers():
    """Three nested boxes of unlike size, labels 1 to 3 from outside in, in a margin of nothing."""
    labels = np.zeros((40, 36, 32), dtype=np.uint8)
    for label, edge in enumerate((3, 7, 11), start=1):
        labels[edge:-edge, edge:-edge, edge:-edge] = label
    return labels


@pytest.mark.parametrize("order", [(100.0, 200.0, 300.0), (300.0, 100.0, 180.0)])
def test_classes_are_found_and_ranked_by_brightness(layers, order):
    image = np.array([0.0, *order])[layers] + np.random.default_rng(0).normal(0, 12, layers.shape)
    rank = np.array([0, *(1 + np.argsort(np.argsort(order)))])
    found = tissue_classes(image, layers > 0)
    assert found.dtype == np.uint8 and not found[layers == 0].any()
    assert (found == rank[layers])[layers > 0].mean() > 0.999


def test_without_neighbours_it_is_the_best_classifier_and_with_them_better(layers):
    inside, levels, sd = layers > 0, np.array([100.0, 200, 300]), 30.0
    image = np.array([0.0, *levels])[layers] + np.random.default_rng(1).normal(0, sd, layers.shape)
    shares = np.bincount(layers[inside])[1:] / inside.sum()
    log_density = np.log(shares) - (image[..., None] - levels) ** 2 / (2 * sd**2)
    bayes = (log_density.argmax(-1) + 1 == layers)[inside].mean()
    alone, together = ((tissue_classes(image, inside, smoothness=s) == layers)[inside].mean() for s in (0.0, 0.5))
    assert alone == pytest.approx(bayes, abs=0.005) and bayes < 0.95
    assert 1 - together < 0.3 * (1 - bayes)


def test_scale_and_offset_of_intensities_do_not_matter(layers):
    image = np.array([0.0, 100, 200, 300])[layers] + np.random.default_rng(2).normal(0, 30, layers.shape)
    first, second = (tissue_classes(i, layers > 0) for i in (image, 0.01 * image + 7))
    np.testing.assert_array_equal(first, second)


def test_one_hot_voxel_changes_nothing(layers):
    image = np.array([0.0, 100, 200, 300])[layers] + np.random.default_rng(2).normal(0, 12, layers.shape)
    clean = tissue_classes(image, layers > 0)
    image[20, 18, 16] = 1e6
    hot = tissue_classes(image, layers > 0)
    assert (hot != clean).mean() < 1e-3


def test_what_cannot_be_told_apart_is_refused(layers):
    with pytest.raises(ValueError, match="different intensities"):
        tissue_classes(np.ones(layers.shape), layers > 0)
    with pytest.raises(ValueError, match="2 to 5"):
        tissue_classes(np.ones(layers.shape), layers > 0, classes=1)


def test_agreement_is_known_in_advance():
    truth, estimate = np.zeros((4, 10, 1), int), np.zeros((4, 10, 1), int)
    truth[0], truth[1, :4] = 1, 5
    estimate[0, 5:], estimate[2] = 1, 1  # half of label 1 and ten more; nothing of label 5
    found = compare_labels(truth, estimate)
    assert set(found) == {1, 5}
    assert found[1].dice == 2 * 5 / (10 + 15) and found[1].volume_error == pytest.approx(0.5)
    assert found[5].dice == 0 and found[5].volume_error == -1


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
