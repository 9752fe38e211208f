"""Stimuli: pixels, units, contrast and range that can be worked out by hand."""

import numpy as np
import pytest

import kit
from kit.lab import Screen

screen = Screen()


def test_grating_is_a_cosine_across_the_stripes():
    upright = screen.grating(0, 0.125, contrast=0.5)[0, 0]
    x = np.arange(64) - 31.5
    expected = 2**0.5 * 0.5 * np.cos(2 * np.pi * x / 8)
    np.testing.assert_allclose(upright, np.tile(expected, (36, 1)), atol=1e-6)
    quarter = screen.grating(0, 0.125, np.pi / 2, 0.5)[0, 0]
    np.testing.assert_allclose(quarter[:, :-2], upright[:, 2:], atol=1e-5)
    level = screen.grating(np.pi / 2, 0.125)[0, 0]
    assert np.ptp(level, axis=1).max() < 1e-5 and np.ptp(level, axis=0).min() > 2


def test_grating_has_the_rms_contrast_asked_for():
    whole_cycles = screen.grating([0, 0, 0], 0.125, [0, 1, 2], [0.1, 0.4, 0.8])
    np.testing.assert_allclose(whole_cycles.std((1, 2, 3)), [0.1, 0.4, 0.8], rtol=1e-5)
    np.testing.assert_allclose(whole_cycles.mean((1, 2, 3)), 0, atol=1e-6)
    assert whole_cycles.dtype == np.float32


def test_grating_in_a_disc_ends_at_its_radius():
    stimulus = screen.grating(0.3, 0.1, center=(10, -5), radius=6)[0, 0]
    y, x = np.mgrid[:36, :64] - np.array([17.5, 31.5])[:, None, None]
    inside = np.hypot(x - 10, y + 5) <= 6
    np.testing.assert_array_equal(stimulus, inside * screen.grating(0.3, 0.1)[0, 0])
    assert not screen.grating(0, 0.1, radius=0).any()


def test_gabor_has_its_phase_at_its_centre():
    stimulus = screen.gabor(0.4, 0.1, 0, contrast=1, center=(3.5, 2.5), sigma=4)[0, 0]
    assert np.unravel_index(stimulus.argmax(), stimulus.shape) == (20, 35)
    assert stimulus.max() == pytest.approx(2**0.5, abs=1e-6)
    assert np.abs(stimulus[:, :10]).max() < 1e-5


def test_bar_and_disc_cover_what_they_should():
    bar = screen.bar(0, 4, 0.5)[0, 0]
    assert (bar[:, 30:34] == 0.5).all() and not bar[:, :30].any() and not bar[:, 34:].any()
    short = screen.bar(np.pi / 2, 2, -0.5, (0, 0), 6)[0, 0]
    assert (short < 0).sum() == 2 * 6 and short.min() == -0.5
    assert [(screen.bar(0, width)[0, 0, 0] > 0).sum() for width in (1, 2, 3)] == [1, 2, 3]
    disc = screen.disc(10, 1)[0, 0]
    assert disc.sum() == pytest.approx(np.pi * 100, rel=0.01)


def test_degrees_are_pixels_times_their_size():
    degrees = Screen(degrees_per_pixel=2)
    np.testing.assert_allclose(degrees.grating(0.5, 0.05), screen.grating(0.5, 0.1), atol=1e-5)
    np.testing.assert_allclose(degrees.disc(8, 1, (4, 2)), screen.disc(4, 1, (2, 1)), atol=1e-6)
    gabor = screen.gabor(1, 0.1, sigma=4)
    np.testing.assert_allclose(degrees.gabor(1, 0.05, sigma=8), gabor, atol=1e-5)


def test_limits_are_black_and_white():
    dark = Screen(pixel_statistics=(100, 50))
    assert dark.limits == (-2, 3.1) and dark.max_contrast == pytest.approx(2**0.5)


def test_noise_has_its_contrast_and_spectrum():
    white, natural = screen.white_noise(50, 1), screen.natural_noise(50, 1)
    for noise in (white, natural):
        assert noise.shape == (50, 1, 36, 64)
        np.testing.assert_allclose(noise.std((1, 2, 3)), 0.8, rtol=0.05)
        assert noise.min() >= screen.limits[0] - 1e-6 and noise.max() <= screen.limits[1] + 1e-6

    def neighbours(images):
        return np.corrcoef(images[..., 1:].ravel(), images[..., :-1].ravel())[0, 1]

    assert abs(neighbours(white)) < 0.02 and neighbours(natural) > 0.6
    np.testing.assert_array_equal(natural, screen.natural_noise(50, 1))
    assert not np.array_equal(natural, screen.natural_noise(50, 2))
    assert screen.blank(3).shape == (3, 1, 36, 64) and not screen.blank(3).any()


def test_set_contrast():
    images = np.random.default_rng(0).normal(3, 2, (4, 1, 5, 6))
    changed = kit.lab.set_contrast(images, 0.5, mean=1)
    np.testing.assert_allclose(changed.std((1, 2, 3)), 0.5)
    np.testing.assert_allclose(changed.mean((1, 2, 3)), 1)
    assert not kit.lab.set_contrast(np.ones((1, 1, 2, 2)), 0.5).any()


def test_center_takes_one_place_or_one_for_each():
    both = screen.disc(3, 1, np.array([[10, -5], [3, 4]]))
    np.testing.assert_array_equal(both[:1], screen.disc(3, 1, (10, -5)))
    np.testing.assert_array_equal(both[1:], screen.disc(3, 1, (3, 4)))


@pytest.mark.parametrize("draw, message", [
    (lambda: screen.disc(3, center=3), r"center must be numbers \(2,\) or \(n, 2\), these are int"),
    (lambda: screen.disc(3, center=np.zeros((2, 3))), r"these are \(2, 3\) float64; give an"),
    (lambda: screen.disc(3, center=(np.nan, 0)), "center has values that are not finite"),
    (lambda: screen.disc(-3), "radius=-3 cannot be drawn on this screen; give .* from 0 to inf"),
    (lambda: screen.gabor(0, 0.1, sigma=0), "sigma=0 cannot be drawn"),
    (lambda: screen.grating([], 0.1), r"orientation must be numbers \(\) or \(n,\), these are"),
    (lambda: screen.grating("up", 0.1), "orientation must be numbers .*, these are str"),
    (lambda: screen.grating(0, np.nan), "frequency=nan cannot be drawn"),
    (lambda: screen.grating(0, [0.1, 0.7]), "frequency=.* cannot be drawn .* from -0.5 to 0.5"),
    (lambda: Screen(degrees_per_pixel=2).grating(0, 0.3), "frequency=0.3 .* from -0.25 to 0.25"),
    (lambda: screen.grating(0, 0.1, contrast=np.nan), "contrast=nan cannot be drawn"),
    (lambda: screen.grating(0, 0.1, contrast=1.4), "contrast=1.4 .* from -1.24 to 1.24"),
    (lambda: screen.disc(5, 2.5), "contrast=2.5 .* from -1.76 to 2.19"),
    (lambda: screen.bar(0, 5, -2), "contrast=-2 .* from -1.76 to 2.19"),
    (lambda: screen.grating(90, 0.1), r"orientation of 90 radians is beyond a full turn; for "
     r"degrees give np.radians\(orientation\)"),
    (lambda: screen.bar([0, 45], 3), "orientation of 45 radians is beyond a full turn"),
    (lambda: screen.gabor(-180, 0.1), "orientation of 180 radians is beyond a full turn"),
    (lambda: Screen(pixel_statistics=(113, 0)), "give 2 values, each a number from 1 to 254"),
    (lambda: Screen((36.5, 64)), "give 2 values, each a whole number from 1 to 1024"),
    (lambda: Screen(degrees_per_pixel=-1), "give a number from 0.001 to 100 or None"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
