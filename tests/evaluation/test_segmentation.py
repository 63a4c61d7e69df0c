"""Tissue classes on images whose classes are known, their agreement, and other programs' labels."""

import numpy as np
import pytest

from focvs.evaluation.segmentation import compare_labels, tissue_classes


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
