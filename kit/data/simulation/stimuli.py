"""Trials, images, behaviour and eye position of a simulated mouse.

Images and behaviour are computed in float64 and then rounded to integers or stored whole, so that
a last digit in which two processors differ does not reach them.
"""

from dataclasses import dataclass

import numpy as np

from kit.data.layout import RECORDED_SIZE
from kit.files import progress

HEIGHT, WIDTH = RECORDED_SIZE
ROWS, COLUMNS, MARGIN = 4, 4, 140  # images are cut from a sheet; its margin is thrown away
PUBLIC_TIERS = ("train", "validation")  # with published responses


@dataclass(frozen=True)
class Session:
    """Stimuli and behaviour of one mouse: T trials in the order of presentation."""

    pixels: np.ndarray  # (images, 1, 144, 256) uint8, each image once
    image: np.ndarray  # (T,) index into pixels: the image of a trial
    trials: dict[str, np.ndarray]  # (T, …) by the official names, in raw units

    @property
    def public(self) -> np.ndarray:
        """(T,) bool: the trials with published responses and statistics."""
        return np.isin(self.trials["tiers"], PUBLIC_TIERS)


def draw_session(counts: dict[str, int], rng: np.random.Generator) -> Session:
    """Draw a `Session`. counts: tier -> number of images."""
    trial_rng, image_rng, behavior_rng = rng.spawn(3)
    image, trials = _draw_trials(counts, trial_rng)
    trials |= _draw_behavior(len(image), behavior_rng)
    return Session(_paint_images(sum(counts.values()), image_rng), image, trials)


def _draw_trials(counts, rng):
    """Draw each trial's image, from 0 on, and a dict of tiers and image ids: (T,) as presented.

    counts: tier -> number of images; test images are shown about ten times, the others once.
    """
    tiers = np.repeat(list(counts), list(counts.values()))  # (images,)
    repeats = np.ones(len(tiers), int)
    tested = ~np.isin(tiers, PUBLIC_TIERS)
    repeats[tested] = 10 - (rng.random((tested.sum(), 3)) < 0.05).sum(1)  # a few are missing
    image = rng.permutation(np.repeat(np.arange(len(tiers)), repeats))  # (T,)
    ids = rng.choice(10_000, size=len(tiers), replace=False)
    return image, {"tiers": tiers[image], "frame_image_id": ids[image]}


def _paint_images(count, rng):
    """Dead leaves with 1/f texture: occlusion and natural statistics. (count, 1, 144, 256) uint8.

    Overlapping textured ellipses with radii that follow r^-3 (Lee, Mumford and Huang, IJCV 2001).
    """
    leaves = [_draw_leaf(rng) for _ in range(1500)]
    texture = _draw_pink_noise(rng)
    images = []
    for _ in progress(range(0, count, ROWS * COLUMNS), desc="painting images", unit="sheet"):
        images.extend(_paint_sheet(leaves, texture, rng))
    brightness = rng.normal(113.5, 38, count)
    contrast = rng.normal(55, 18, count).clip(15, 100)
    pixels = np.empty((count, 1, HEIGHT, WIDTH), np.uint8)
    for i in range(count):
        image = images[i].astype(np.float64)
        image -= image.mean()
        pixels[i] = (image * (contrast[i] / image.std()) + brightness[i]).round().clip(0, 255)
    return pixels


def _paint_sheet(leaves, texture, rng):
    """Leaves dropped on one large sheet, which is then cut into images (16, 144, 256)."""
    height, width = ROWS * HEIGHT + 2 * MARGIN, COLUMNS * WIDTH + 2 * MARGIN
    sheet = np.tile(texture, (1, 2))[:height, :width] * 0.8
    kinds = rng.integers(len(leaves), size=3200)  # enough to hide nearly all that lies below
    for kind, draws in zip(kinds, rng.random((3200, 5)), strict=True):
        down, right, v, u, tone = map(float, draws)  # Python's: the sheet stays float32
        leaf = leaves[kind]
        shade = _window(texture, leaf.shape, v, u) * 0.45 + (3 * tone - 1.5)
        np.copyto(_window(sheet, leaf.shape, down, right), shade, where=leaf)
    sheet = sheet[MARGIN:-MARGIN, MARGIN:-MARGIN].reshape(ROWS, HEIGHT, COLUMNS, WIDTH)
    return sheet.swapaxes(1, 2).reshape(-1, HEIGHT, WIDTH)


def _window(field, shape, down, right):
    """A view of a field, of this shape; down and right say where, from 0 to 1."""
    top, left = int(down * (len(field) - shape[0])), int(right * (field.shape[1] - shape[1]))
    return field[top : top + shape[0], left : left + shape[1]]


def _draw_leaf(rng):
    """One ellipse, as the smallest bool mask that holds it."""
    smallest, largest = 7.0, 130.0  # radii follow r^-3, the law that makes dead leaves scale-free
    radius = (rng.random() * (largest**-2 - smallest**-2) + smallest**-2) ** -0.5
    dx = np.arange(-int(radius), int(radius) + 1)
    dy = dx[:, None]
    angle = rng.uniform(0, np.pi)
    aspect = rng.uniform(0.5, 1)
    along = np.cos(angle) * dx + np.sin(angle) * dy
    across = np.cos(angle) * dy - np.sin(angle) * dx
    return along**2 + (across / aspect) ** 2 < radius**2


def _draw_pink_noise(rng):
    """A (1024, 1024) field with a 1/f amplitude spectrum, mean 0, std 1, float32."""
    size = 1024
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) / frequency)
    return (field / field.std()).astype(np.float32)


def _draw_behavior(trials, rng):
    """Pupil size, its change and running speed (T, 3), and eye position (T, 2), in raw units."""
    running, pupil = np.zeros((2, trials))
    eye = np.zeros((trials, 2))
    moving = False
    speed = 0.0
    arousal = 0.0
    for t in range(trials):  # bouts of running; arousal drifts slowly and rises with running
        moving = rng.random() < (0.93 if moving else 0.03)
        speed = 0.6 * speed + 0.4 * moving * rng.gamma(4, 6)
        arousal = 0.96 * arousal + 0.28 * rng.standard_normal()
        running[t] = speed + 0.1 * abs(rng.standard_normal())
        pupil[t] = arousal + 0.03 * speed
    pupil = 40 + 10 * _standardise(pupil)  # mean 4 std
    change = np.gradient(pupil) + rng.standard_normal(trials)
    for t in range(1, trials):  # slow drift with saccades back to the middle
        eye[t] = 0.9 * eye[t - 1] + 0.4 * rng.standard_normal(2)
        if rng.random() < 0.05:
            eye[t] = rng.standard_normal(2)
    return {
        "behavior": np.stack([pupil, change, running], 1),
        "pupil_center": [160, 118] + [7.5, 4.5] * _standardise(eye),
    }


def _standardise(values):
    return (values - values.mean(0)) / values.std(0)
