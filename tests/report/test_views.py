"""Volumes are turned to anatomical axes, and windows show tissue."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from focvs.report.views import FEW, View, deviation_window, few_of, middle_of, plane, window_of

TURNS = [(axes, flips) for axes in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3)]


@pytest.mark.parametrize(("axes", "flips"), TURNS[::5])
def test_a_turned_volume_is_the_canonical_one(axes, flips):
    rng = np.random.default_rng(0)
    data, affine = rng.random((5, 6, 7)), np.eye(4)
    affine[:3, :3] = (np.diag([0.9, 1.1, 3.0]) * flips)[:, axes]
    affine[:3, 3] = 10, -20, 30
    canonical = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    view = View(affine)
    np.testing.assert_array_equal(view(data), canonical.get_fdata())
    assert np.shares_memory(view(data), data)
    np.testing.assert_allclose(view.zooms_mm, canonical.header.get_zooms(), rtol=1e-6)
    np.testing.assert_allclose(view.turned_affine(data.shape), canonical.affine)


def test_a_plane_has_its_lowest_row_first():
    volume = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(plane(volume, 0, 1), volume[1].T)


def test_the_middle_is_that_of_tissue():
    volume = np.zeros((40, 30, 20))
    volume[10:21, 5:12, 3:8] = 1
    np.testing.assert_array_equal(middle_of(volume, 1.0), [15, 8, 5])
    np.testing.assert_array_equal(middle_of(np.zeros((40, 30, 20)), 1.0), [20, 15, 10])


def test_windows_keep_most_of_the_tissue_whatever_lies_around_it():
    rng = np.random.default_rng(0)
    tissue = rng.normal(500, 50, 10000).clip(1)
    alone, in_air = window_of(tissue), window_of(np.concatenate([tissue, np.zeros(100_000)]))
    assert alone == in_air and alone[0] == 0
    assert (tissue > alone[1]).mean() == pytest.approx(0.015, abs=0.002)
    low, high = window_of(rng.normal(0, 1, 10000))
    assert low < -2 and high > 1.5
    assert window_of(np.zeros(8)) == (0.0, 1.0) and deviation_window(np.zeros(8)) == (0.0, 1.0)
    assert deviation_window(np.arange(-5, 101))[1] == pytest.approx(100, abs=1)


def test_fat_saturates_so_that_the_brain_shows():
    rng = np.random.default_rng(0)
    head = np.concatenate([rng.normal(300, 30, 9000), rng.normal(1000, 50, 1000)])
    assert window_of(head)[1] == pytest.approx(2 * np.median(head))


@pytest.mark.parametrize("shape", [(60, 70, 192), (50, 400, 27), (7, 11, 13)], ids=str)
def test_a_few_values_stand_for_all(shape):
    volume = np.random.default_rng(0).gamma(2.0, size=shape) + np.linspace(0, 3, shape[-1])
    few = few_of(volume)
    assert few.size < 2 * FEW and few.size >= min(volume.size, FEW / 4)
    for percent in (0.5, 50, 99.5):
        assert np.percentile(few, percent) == pytest.approx(np.percentile(volume, percent), rel=0.02)
