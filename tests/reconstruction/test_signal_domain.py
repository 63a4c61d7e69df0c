"""Which signals stand for which maps, and what they say of them."""

import itertools
import math

import pytest
import torch

from focvs.errors import InputError
from focvs.reconstruction.signal_domain import REFERENCE, OneMap, UnitDensity, domain_of_images, domain_of_maps
from focvs.signal.sequences import InversionRecovery, SpinEcho, SpoiledGradientEcho

SUBSETS = [found for found in itertools.product((True, False), repeat=3) if any(found)]
TISSUES = torch.tensor([[0.7, 0.9, 0.07], [0.82, 1.6, 0.1], [0.95, 3.0, 0.6]], dtype=torch.float64)


@pytest.mark.parametrize("kind", ["signal", "map"])
@pytest.mark.parametrize("found", SUBSETS)
def test_signals_determine_what_is_found_and_depend_on_nothing_else(found, kind):
    domain = domain_of_maps(found, kind)
    assert len(domain.reference.sequences) == sum(found)
    other = TISSUES.clone()
    other[:, [not f for f in found]] *= 1.4
    signals = domain.reference(TISSUES)
    assert torch.allclose(domain.reference(other), signals, rtol=1e-3)
    again = domain.invert(signals)
    columns = [k for k in range(3) if found[k]]
    assert torch.allclose(again[:, columns], TISSUES[:, columns], rtol=2e-3), again


def test_what_is_not_found_is_what_tissues_have_beside_the_rest():
    domain = domain_of_maps((True, True, False))
    white, fluid = domain.invert(
        domain.reference(torch.tensor([[0.7, 1.0, 1.0], [1.0, 4.3, 1.0]], dtype=torch.float64))
    )
    assert 0.03 < float(white[2]) < 0.2 < float(fluid[2])


def test_units_scale_only_what_is_in_them():
    domain = domain_of_maps((True, True, True), "map")
    scale = domain.scale(torch.tensor([700.0, 4.0, 2.0], dtype=torch.float64))
    assert scale.tolist() == [700.0, 1.0, 1.0]
    assert domain_of_maps((False, True, True)).scale(torch.tensor([5.0, 3.0])).tolist() == [1.0, 1.0]
    three = domain_of_maps((True, True, True))
    signals = 350 * REFERENCE(TISSUES)
    assert torch.allclose(three.maps_of(signals), TISSUES * torch.tensor([350, 1, 1]), rtol=2e-3)


def test_images_that_tell_the_maps_apart_are_a_domain():
    images = (SpinEcho(0.6, 0.015), SpinEcho(4.0, 0.015), SpinEcho(4.0, 0.09))
    domain = domain_of_images(images)
    assert domain.found == (True, True, True) and domain.condition_number < 10
    assert torch.allclose(domain.maps_of(domain.reference(TISSUES)), TISSUES, rtol=2e-3)
    four = domain_of_images((*images, InversionRecovery(9.0, 0.1, 2.4)))
    assert len(four.reference.sequences) == 4


@pytest.mark.parametrize(
    ("sequences", "number"),
    [
        ((SpinEcho(4.0, 0.03), SpinEcho(4.0, 0.06), SpinEcho(4.0, 0.09)), r"condition number \d\.\d+e\+\d+"),
        ((SpinEcho(0.6, 0.015), SpinEcho(4.0, 0.09)), "condition number inf"),
        ((SpinEcho(4.0, 0.03), SpinEcho(3.5, 0.06), SpinEcho(4.0, 0.09)), "condition number 77"),
    ],
)
def test_protocols_that_do_not_are_refused(sequences, number):
    with pytest.raises(InputError, match=f"cannot tell proton density, T1 and T2 apart.*{number}"):
        domain_of_images(sequences)


def test_a_map_and_a_density_of_one():
    assert torch.equal(OneMap(1)(TISSUES), TISSUES[:, 1])
    sequence = SpoiledGradientEcho(0.02, 0.003, math.radians(20))
    assert torch.allclose(UnitDensity(sequence)(TISSUES), sequence(TISSUES) / TISSUES[:, 0])


def test_no_map_is_refused():
    with pytest.raises(ValueError, match="at least one map"):
        domain_of_maps((False, False, False))


def test_all_three_maps_of_signals_are_told_from_others():
    assert domain_of_maps((True, True, True)).of_signals
    assert not domain_of_maps((True, True, True), "map").of_signals
    assert not domain_of_maps((True, True, False)).of_signals
