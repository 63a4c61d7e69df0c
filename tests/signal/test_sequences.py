"""Signal equations against magnetisation followed pulse by pulse."""

import math

import pytest
import torch

from focvs.signal.sequences import (
    InversionRecovery,
    Mprage,
    MultiEcho,
    Several,
    SpinEcho,
    SpoiledGradientEcho,
    jacobian,
)

MAPS = torch.tensor([[1.0, 0.83, 0.07], [0.8, 1.4, 0.1], [1.2, 4.2, 1.9]], dtype=torch.float64)
SEQUENCES = (
    SpinEcho(2.0, 0.09),
    InversionRecovery(9.0, 0.12, 2.5, 0.95),
    SpoiledGradientEcho(0.018, 0.003, 0.35),
    Mprage(2.3, 0.003, 0.9, math.radians(9), 0.0072, 176, 70, 0.96),
)


def followed(events, t1, cycles=400):
    """Longitudinal magnetisation before the event called ``read``, after so many cycles of a list of events.

    Events are ("wait", seconds), ("turn", factor of what is left), and ("read",).
    """
    m, seen = 1.0, None
    for _ in range(cycles):
        for word, *value in events:
            if word == "wait":
                m = 1 - (1 - m) * math.exp(-value[0] / t1)
            elif word == "turn":
                m *= value[0]
            else:
                seen = m
    return seen


def events_of(sequence):
    if isinstance(sequence, SpinEcho):
        half = sequence.te_s / 2
        return [("read",), ("turn", 0), ("wait", half), ("turn", -1), ("wait", sequence.tr_s - half)]
    if isinstance(sequence, InversionRecovery):
        after = sequence.tr_s - sequence.ti_s
        return [("turn", -sequence.efficiency), ("wait", sequence.ti_s), ("read",), ("turn", 0), ("wait", after)]
    turn = math.cos(sequence.flip_rad)
    if isinstance(sequence, SpoiledGradientEcho):
        return [("read",), ("turn", turn), ("wait", sequence.tr_s)]
    events = [("turn", -sequence.efficiency), ("wait", sequence.delay_s)]
    for pulse in range(sequence.pulses):
        events += [("read",)] if pulse == sequence.central else []
        events += [("turn", turn), ("wait", sequence.spacing_s if pulse < sequence.pulses - 1 else sequence.rest_s)]
    return events


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: type(s).__name__)
def test_the_closed_form_is_what_magnetisation_does(sequence):
    flip = getattr(sequence, "flip_rad", math.pi / 2)
    for density, t1, t2 in MAPS.tolist():
        longitudinal = followed(events_of(sequence), t1, 60 if isinstance(sequence, Mprage) else 400)
        expected = density * math.sin(flip) * abs(longitudinal) * math.exp(-sequence.te_s / t2)
        found = float(sequence(torch.tensor([density, t1, t2], dtype=torch.float64)))
        assert found == pytest.approx(expected, rel=1e-6)


def test_flair_nulls_fluid_and_mprage_is_brighter_in_white_matter():
    white, grey, fluid = MAPS
    nulling = InversionRecovery(9.0, 0.12, -4.2 * math.log((1 + math.exp(-9 / 4.2)) / 2))
    assert float(nulling(fluid)) < 1e-9 < float(nulling(white))
    mprage = SEQUENCES[-1]
    assert mprage(white) > 1.2 * mprage(grey) > 1.2 * mprage(fluid)


@pytest.mark.parametrize("sequence", [*SEQUENCES, Several(SEQUENCES[:2])], ids=lambda s: type(s).__name__)
def test_derivatives_are_those_of_backward_differentiation(sequence):
    signal, derivative = jacobian(sequence, MAPS)
    torch.testing.assert_close(signal, sequence(MAPS))
    rows = [torch.autograd.functional.jacobian(sequence, point) for point in MAPS]
    torch.testing.assert_close(derivative, torch.stack(rows))


def test_echoes_decay_with_t2():
    echoes = MultiEcho(3.0, (0.01, 0.05, 0.1))(MAPS)
    assert echoes.shape == (3, 3)
    rate = -torch.log(echoes[:, 2] / echoes[:, 1]) / 0.05
    torch.testing.assert_close(1 / rate, MAPS[:, 2])
    torch.testing.assert_close(
        echoes[:, 2], MAPS[:, 0] * (1 - torch.exp(-2.9 / MAPS[:, 1])) * torch.exp(-0.1 / MAPS[:, 2])
    )


def test_a_train_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"do not fit into 2\.3 s"):
        Mprage(2.3, 0.003, 0.2, 0.15, 0.0072, 176)
