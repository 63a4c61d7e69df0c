import pytest

from focvs.errors import InputError
from focvs.signal.protocols import kind_of, sequence_of
from focvs.signal.sequences import InversionRecovery, Mprage, SpinEcho, SpoiledGradientEcho

SPIN = {"RepetitionTime": 5.0, "EchoTime": 0.1, "ScanningSequence": "SE"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (SPIN, SpinEcho(5.0, 0.1)),
        (SPIN | {"ScanningSequence": "SE_IR", "InversionTime": 2.5}, InversionRecovery(5.0, 0.1, 2.5)),
        (
            {"RepetitionTime": 0.02, "EchoTime": 0.004, "FlipAngle": 180 / 3.141592653589793, "ScanningSequence": "GR"},
            SpoiledGradientEcho(0.02, 0.004, 1.0),
        ),
    ],
)
def test_sidecars_tell_the_sequence(given, expected):
    found = sequence_of(given, "a.json")
    assert type(found) is type(expected)
    assert vars(found) == pytest.approx(vars(expected))


def test_mprage_takes_its_train_from_the_sidecar():
    given = {"RepetitionTime": 2.3, "EchoTime": 0.003, "InversionTime": 0.9, "FlipAngle": 9, "EchoSpacing": 0.007}
    found = sequence_of(given | {"ScanningSequence": ["GR", "IR"], "SequenceVariant": "SK_SP_MP"}, "t1.json")
    assert isinstance(found, Mprage) and found.pulses == 176 and found.spacing_s == 0.007


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"RepetitionTime": None}, "RepetitionTime is None; a number is needed"),
        ({"RepetitionTime": 5000}, "RepetitionTime is 5000, and BIDS has seconds"),
        ({"EchoTime": 0}, "EchoTime is 0; it must be above 0"),
        ({"EchoTime": 0.9, "RepetitionTime": 0.5}, "is not below its RepetitionTime"),
        ({"ScanningSequence": "EP"}, "does not say what sequence it is"),
        ({"ScanningSequence": "GR"}, "has no FlipAngle; an image needs its protocol"),
        ({"ScanningSequence": "GR", "FlipAngle": 200}, "at most 180 degrees"),
        (
            {"ScanningSequence": "GR_IR", "FlipAngle": 9, "InversionTime": 0.2, "EchoSpacing": 0.008},
            "do not fit into 5 s",
        ),
    ],
)
def test_what_cannot_be_is_said(changes, words):
    with pytest.raises(InputError, match=words):
        sequence_of(SPIN | changes, "a.json")


def test_a_kind_that_is_given_is_taken_and_an_unknown_one_refused():
    assert isinstance(sequence_of({"RepetitionTime": 5, "EchoTime": 0.1}, "a", "spin_echo"), SpinEcho)
    with pytest.raises(InputError, match="echo_planar is not known"):
        sequence_of(SPIN, "a", "echo_planar")
    assert kind_of({"ScanningSequence": "GR", "SequenceVariant": "MP"}, "a") == "mprage"
