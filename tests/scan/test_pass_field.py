"""A field that was put in is found and taken out; slices without one are left alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from focvs.scan.brightness import balance_slices, bright_head, even_passes
from focvs.scan.pass_field import find_pass_field, signs_of
from focvs.scan.scan import read_scan


def smooth(shape, size):
    """Logarithm of odd over even slices, of root mean square ``size``: it changes sign from left to right."""
    x, y, z = (np.linspace(0, np.pi, n) for n in shape)
    field = np.cos(x)[:, None, None] + 0.5 * (np.cos(y)[:, None] * np.cos(z))[None]
    return size * field / np.sqrt((field**2).mean())


def uneven(scan, size):
    field = smooth(scan.data.shape, size)
    signs = signs_of(scan.data.shape[-1]).numpy()
    return replace(scan, data=(scan.data * np.exp(signs * field / 2)).astype(np.float32)), field


def found_in(scan):
    return find_pass_field(torch.from_numpy(scan.data), bright_head(scan), scan.in_plane_mm, scan.spacing_mm)


def test_a_field_is_found_where_it_is(field_scan):
    scan = read_scan(field_scan)
    changed, field = uneven(scan, 0.05)
    found = found_in(changed)
    head = bright_head(scan).numpy()
    assert found.clear
    left = (found.log_ratio.numpy() - field)[head]
    assert np.sqrt((left**2).mean()) < 0.4 * np.sqrt((field[head] ** 2).mean())
    product = found.gains()[..., :-1] * found.gains()[..., 1:]
    assert float((product - 1).abs().max()) < 0.05  # what odd slices gain even ones lose
    evened = balance_slices(changed, "auto")
    before, after = (np.abs(np.log(s.data[head] / scan.data[head])).mean() for s in (changed, evened))
    assert after < 0.6 * before and evened.pass_field.shape == found.coefficients.shape
    assert any("from place to place" in warning for warning in evened.warnings)
    assert balance_slices(changed, "off") is changed


def test_its_coefficients_say_all_of_it(field_scan):
    found = found_in(uneven(read_scan(field_scan), 0.05)[0])
    total = torch.zeros_like(found.log_ratio)
    for index in np.ndindex(*found.coefficients.shape):
        waves = [
            torch.cos(torch.pi * k * (torch.arange(n).double() + 0.5) / n)
            for k, n in zip((index[1], index[2], index[0]), found.log_ratio.shape, strict=True)
        ]
        total += found.coefficients[index] * torch.einsum("p,q,m->pqm", *waves)
    assert torch.allclose(total, found.log_ratio, atol=1e-9)


def test_even_slices_are_left_alone(field_scan):
    scan = read_scan(field_scan)
    found = found_in(scan)
    assert not found.clear and found.evidence < 1.3
    assert even_passes(scan, "auto") is scan


def test_a_field_beyond_all_scanners_is_left_in(field_scan):
    changed, _ = uneven(read_scan(field_scan), 0.05)
    carried = replace(changed, gains=np.full(changed.data.shape[-1], 1.99))  # by which it was divided before
    found = even_passes(carried, "auto")
    assert found.data is carried.data and "which no scanner makes" in found.warnings[-1]


@pytest.mark.parametrize("kept", [slice(0, 9), slice(0, 14)])
def test_too_few_slices_say_nothing(field_scan, kept):
    scan = read_scan(field_scan)
    short = replace(scan, data=scan.data[..., kept])
    assert found_in(short) is None
    assert even_passes(short, "auto") is short
