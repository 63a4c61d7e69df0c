import numpy as np
import pytest

from focvs.reconstruction.restoration import NO_SAMPLES, Samples


def test_samples_are_made_when_they_are_asked_for_and_as_often():
    made = []

    def make(i):
        made.append(i)
        return np.full(2, float(i))

    samples = Samples(make, 3)
    assert len(samples) == 3 and made == []
    assert [float(s[0]) for s in samples] == [0.0, 1.0, 2.0]
    assert [float(s[0]) for s in samples] == [0.0, 1.0, 2.0]  # not used up
    assert float(samples[-1][0]) == 2.0 and [float(s[0]) for s in samples[1:]] == [1.0, 2.0]
    doubled = samples.mapped(lambda s: 2 * s)
    assert [float(s[0]) for s in doubled] == [0.0, 2.0, 4.0]
    with pytest.raises(IndexError):
        samples[3]
    assert list(NO_SAMPLES) == []
