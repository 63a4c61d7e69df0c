import numpy as np
import pytest

from focvs.training.synthesis import (
    add_lesions,
    add_vessels,
    bias_field,
    label_family,
    random_contrast,
    random_curve,
    synthesise,
    vary_painted,
)


def test_painted_images_keep_their_order_and_get_noise_where_asked():
    image = np.linspace(-0.1, 1, 200)[None, None]
    clean = vary_painted(image, 0.0, np.random.default_rng(0))
    assert (np.diff(clean) >= 0).all() and clean.min() == 0 and 0.8 <= clean.max() <= 1.1
    noisy = vary_painted(image, 1.0, np.random.default_rng(0))
    assert 0 < np.abs(noisy - clean).max() < 0.2 and noisy.min() >= 0


def test_curves_keep_air_and_do_what_they_say():
    rng = np.random.default_rng(0)
    levels = np.linspace(0, 1.5, 200)
    for kind in ("monotone", "inverted", "free"):
        for _ in range(20):
            mapped = random_curve(rng, kind)(levels)
            assert mapped[0] == 0
            assert mapped.min() > -1e-12
            if kind == "monotone":
                assert (np.diff(mapped) > 0).all()
            if kind == "inverted":
                assert mapped[15] > mapped[120]
    with pytest.raises(ValueError, match="monotone, inverted or free"):
        random_curve(rng, "wrong")


def test_lesions_and_vessels_change_the_head_and_not_the_air():
    rng = np.random.default_rng(1)
    head = np.zeros((64, 64), dtype=np.float32)
    head[16:48, 16:48] = 0.5
    for add, image in ((add_lesions, np.stack([head] * 3)), (add_vessels, head)):
        changed = [add(image, rng) for _ in range(20)]
        assert all(np.array_equal(c[image == 0], image[image == 0]) for c in changed)
        assert np.mean([np.abs(c - image).max() > 0.02 for c in changed]) > 0.5
        assert not add(np.zeros_like(image), rng).any()


def test_lesions_go_on_in_the_slices_beside():
    rng = np.random.default_rng(2)
    head = np.full((3, 64, 64), 0.5, np.float32)
    changes = np.abs(np.stack([add_lesions(head, rng) - head for _ in range(40)]))
    middle, beside = changes[:, 1].ravel(), changes[:, 2].ravel()
    assert 0.8 < np.corrcoef(middle, beside)[0, 1] < 0.999


def test_synthetic_contrast_shares_intensities_within_a_family():
    assert label_family(41) == label_family(2)
    assert label_family(43) == label_family(24)
    assert label_family(511) == 511
    families = np.array([0, 2, 2, 3])
    rng = np.random.default_rng(0)
    means = np.array([random_contrast(families, rng)[0] for _ in range(200)])
    assert np.abs(means[:, 1] - means[:, 2]).mean() < 0.05 < np.abs(means[:, 1] - means[:, 3]).mean()
    labels = np.array([[0, 1], [3, 1]]).repeat(16, 0).repeat(16, 1)[None]
    image = synthesise(labels, families, rng)
    assert image.shape == labels.shape
    assert image[labels == 0].std() < 1e-6


def test_bias_field_is_smooth_and_positive():
    field = bias_field((64, 48), 0.1, np.random.default_rng(0))
    assert field.shape == (64, 48)
    assert field.min() > 0
    assert np.abs(np.diff(field, axis=0)).max() < 0.05
