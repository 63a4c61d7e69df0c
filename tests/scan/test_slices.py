"""The head's box, and the slices in prior units."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from focvs.scan.scan import read_scan
from focvs.scan.slices import find_region, take_slices


def test_the_region_follows_the_head(thick_scan):
    scan = read_scan(thick_scan)
    padded = replace(scan, data=np.pad(scan.data, ((20, 0), (0, 30), (0, 4))))
    region, inner = find_region(padded), find_region(scan)
    assert region.mask.shape[2] == 16
    assert 10 < region.crop[0].start <= 20
    assert region.crop[1].stop < 30 + scan.data.shape[1]
    assert region.slices.stop < 16
    assert region.mask.sum() == pytest.approx(inner.mask.sum(), rel=0.03)


def test_slices_are_in_prior_units_and_their_noise_too(thick_scan):
    scan = read_scan(thick_scan)
    slices = take_slices(scan, noise_intensity=12.0)
    assert slices.noise_intensity == pytest.approx(12)
    assert slices.noise_prior == pytest.approx(24 / scan.units.white)
    cropped = scan.data[slices.region.crop]
    assert torch.allclose(slices.units.from_prior(slices.y), torch.from_numpy(cropped), atol=1e-2)
    assert take_slices(scan).noise_prior > 0


def test_the_largest_slices_come_first(thick_scan):
    slices = take_slices(read_scan(thick_scan))
    area = slices.mask.flatten(0, 1).sum(0)
    order = slices.largest()
    assert (area[order].diff() <= 0).all() and len(slices.largest(0.5)) < len(order)
    images, masks = slices.images(order[:3])
    assert images.shape == masks.shape == (3, 1, *slices.y.shape[:2])
    assert torch.equal(images[0, 0], slices.y[..., order[0]])
