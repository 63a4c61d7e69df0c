import numpy as np
import pytest

from focvs.acquisition.tissue_head import CONTRASTS, TISSUES, signal, tissue_head, tissue_maps

SHAPE = (76, 92, 60)


def named(name, contrast):
    return signal(next(t for t in TISSUES if t.name == name), contrast)


def test_contrasts_are_those_that_radiologists_know():
    fluid, grey, white = "cerebrospinal fluid", "grey matter", "white matter"
    assert named(white, "T1w") > 1.2 * named(grey, "T1w") > 1.5 * named(fluid, "T1w")
    assert named(fluid, "T2w") > 2 * named(grey, "T2w") > 2.5 * named(white, "T2w")
    assert named(fluid, "FLAIR") < 1e-9 < named(white, "FLAIR") < named(grey, "FLAIR")
    for contrast in CONTRASTS:
        assert named("cortical bone", contrast) < 0.01 * named("fat", contrast)
    with pytest.raises(ValueError, match="one of T1w, T2w, FLAIR"):
        signal(TISSUES[0], "T3w")


def test_signals_are_the_closed_forms():
    white = TISSUES[2]
    assert signal(white, "T2w") == pytest.approx(0.70 * (1 - np.exp(-5 / 1.084)) * np.exp(-0.1 / 0.069), rel=0.002)
    # at the Ernst angle of its own T1 a spoiled gradient echo is at its largest
    recovered = np.exp(-0.018 / 1.084)
    ernst = 0.70 * np.sqrt((1 - recovered) / (1 + recovered)) * np.exp(-0.003 / 0.069)
    assert 0.7 * ernst < signal(white, "T1w") < ernst


def test_every_seed_is_another_head_of_the_same_kind():
    heads = [tissue_head("T1w", seed, SHAPE, 2.4) for seed in (0, 0, 1)]
    assert np.array_equal(heads[0][1], heads[1][1])
    assert np.abs(heads[0][0] - heads[2][0]).mean() > 0.02
    for clean, noisy in heads:
        assert clean.dtype == noisy.dtype == np.float32 and clean.shape == SHAPE
        assert clean[0].max() < 0.02 and clean[:, :, -1].max() < 0.02  # air around it, and above
        assert 0.35 < (clean > 0.1).mean() < 0.65
        rayleigh = noisy[:6, :6][clean[:6, :6] < 1e-3]
        assert rayleigh.mean() == pytest.approx(0.01 * np.sqrt(np.pi / 2), rel=0.1)


def test_fluid_is_dark_in_one_contrast_and_bright_in_another():
    t1w, t2w = (tissue_head(contrast, 0, SHAPE, 2.4)[0] for contrast in ("T1w", "T2w"))
    middle = (slice(20, 56), slice(25, 70), slice(15, 45))
    assert np.corrcoef(t1w[middle].ravel(), t2w[middle].ravel())[0, 1] < -0.7


def test_maps_are_those_of_the_labels():
    maps, labels = tissue_maps(0, SHAPE, 2.4)
    assert maps.shape == (*SHAPE, 3) and labels.shape == SHAPE and not maps[labels == 0].any()
    for number, tissue in enumerate(TISSUES, start=1):
        found = maps[labels == number]
        expected = (tissue.proton_density, tissue.t1_s, tissue.t2_s)
        assert np.median(found, axis=0) == pytest.approx(expected, rel=0.02), tissue.name
        assert found.std(0) == pytest.approx(0.03 * np.array(expected), rel=0.25), tissue.name
