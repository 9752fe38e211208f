"""What a simulated mouse is shown and what it does: trials, images, behaviour, eye position.

Images and behaviour are computed in float64 and then rounded to integers or stored whole, so that
a last digit in which two processors differ does not reach them.
"""

from dataclasses import dataclass

import numpy as np

from kit.files import progress

HEIGHT, WIDTH = 144, 256  # of the images on disk


@dataclass(frozen=True)
class Session:
    """What one mouse was shown and what it did: T trials in the order of presentation."""

    pixels: np.ndarray        # (images, 1, 144, 256) uint8, each image once
    image: np.ndarray         # (T,) which of them a trial shows
    image_ids: np.ndarray     # (T,) their ids
    tiers: np.ndarray         # (T,) str
    behavior: np.ndarray      # (T, 3) pupil size, its change, running speed, in raw units
    pupil_center: np.ndarray  # (T, 2) eye position, in raw units

    @property
    def public(self):
        """(T,) bool: trials whose responses anyone may see, and whose statistics are published."""
        return np.isin(self.tiers, ["train", "validation"])


def draw_session(counts, rngs):
    """Draw a `Session`. counts: tier -> number of images; rngs: an iterator of generators."""
    trials = draw_trials(counts, next(rngs))
    pixels = paint_images(sum(counts.values()), next(rngs))
    behavior, pupil_center = draw_behavior(len(trials["tiers"]), next(rngs))
    return Session(pixels, **trials, behavior=behavior, pupil_center=pupil_center)


def draw_trials(counts, rng):
    """Which image each trial shows and in which tier, in the order of presentation.

    counts: tier -> number of images; test images are shown about ten times, the others once.
    Returns a dict of arrays (T,): "image", from 0 on, "image_ids" and "tiers".
    """
    tiers, image = [], []
    shown = 0
    for tier, count in counts.items():
        repeats = np.full(count, 1)
        if tier not in ("train", "validation"):
            repeats = 10 - (rng.random((count, 3)) < 0.05).sum(1)  # a few are missing
        image.append(np.repeat(np.arange(shown, shown + count), repeats))
        tiers += [tier] * repeats.sum()
        shown += count
    shuffled = rng.permutation(len(tiers))
    image, tiers = np.concatenate(image)[shuffled], np.array(tiers)[shuffled]
    ids = rng.choice(10_000, size=shown, replace=False)
    return {"image": image, "image_ids": ids[image], "tiers": tiers}


def paint_images(count, rng):
    """Dead leaves with 1/f texture: occlusion and natural statistics. (count, 1, 144, 256) uint8.

    Overlapping textured ellipses whose radii follow r^-3 (Lee, Mumford and Huang, IJCV 2001).
    """
    rows, columns, margin = 4, 4, 140  # one sheet is cut into so many images
    height, width = rows * HEIGHT, columns * WIDTH
    leaves, texture = [_leaf(rng) for _ in range(1500)], _pink(1024, rng)
    each = rows * columns
    images = np.empty((-(-count // each) * each, HEIGHT, WIDTH), np.float32)
    starts = range(0, len(images), each)
    for start in progress(starts, desc="painting images", unit="sheet"):
        sheet = np.tile(texture, (1, 2))[:height + 2 * margin, :width + 2 * margin] * 0.8
        kinds = rng.integers(len(leaves), size=3200)  # enough to hide nearly all of what lies below
        for kind, draws in zip(kinds, rng.random((3200, 5)), strict=True):
            down, right, v, u, tone = map(float, draws)  # Python's: the sheet stays float32
            h, w = leaves[kind].shape
            y, x = int(down * (sheet.shape[0] - h)), int(right * (sheet.shape[1] - w))
            v, u = int(v * (1024 - h)), int(u * (1024 - w))
            shade = texture[v:v + h, u:u + w] * 0.45 + (3 * tone - 1.5)
            np.copyto(sheet[y:y + h, x:x + w], shade, where=leaves[kind])
        sheet = sheet[margin:-margin, margin:-margin].reshape(rows, HEIGHT, columns, WIDTH)
        images[start:start + each] = sheet.swapaxes(1, 2).reshape(each, HEIGHT, WIDTH)
    brightness = rng.normal(113.5, 38, (count, 1, 1))
    contrast = rng.normal(55, 18, (count, 1, 1)).clip(15, 100)
    pixels = np.empty((count, 1, HEIGHT, WIDTH), np.uint8)
    for start in range(0, count, each):  # in blocks, which saves a gigabyte
        block = slice(start, min(start + each, count))
        image = images[block].astype(np.float64)
        image -= image.mean((1, 2), keepdims=True)
        image = image * (contrast[block] / image.std((1, 2), keepdims=True)) + brightness[block]
        pixels[block, 0] = image.round().clip(0, 255)
    return pixels


def _leaf(rng):
    """The outline of one ellipse, as a bool mask that just holds it."""
    smallest, largest = 7.0, 130.0  # radii follow r^-3, the law that makes dead leaves scale-free
    radius = (rng.random() * (largest**-2 - smallest**-2) + smallest**-2) ** -0.5
    dy, dx = np.mgrid[-int(radius):int(radius) + 1, -int(radius):int(radius) + 1]
    angle, aspect = rng.uniform(0, np.pi), rng.uniform(0.5, 1)
    along, across = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    return along**2 + (across / aspect) ** 2 < radius**2


def _pink(size, rng):
    """A (size, size) field with a 1/f amplitude spectrum, mean 0, std 1, float32."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) / frequency)
    return (field / field.std()).astype(np.float32)


def draw_behavior(trials, rng):
    """Pupil size, its change and running speed (T, 3), and eye position (T, 2), in raw units."""
    running = np.zeros(trials)
    moving, speed = False, 0.0
    pupil, arousal = np.zeros(trials), 0.0
    for t in range(trials):  # bouts of running; arousal drifts slowly and rises with running
        moving = rng.random() < (0.93 if moving else 0.03)
        speed = 0.6 * speed + 0.4 * moving * rng.gamma(4, 6)
        arousal = 0.96 * arousal + 0.28 * rng.standard_normal()
        running[t] = speed + 0.1 * abs(rng.standard_normal())
        pupil[t] = arousal + 0.03 * speed
    pupil = 40 + 10 * _standard(pupil)  # mean 4 std
    change = np.gradient(pupil) + rng.standard_normal(trials)
    eye = np.zeros((trials, 2))
    for t in range(1, trials):  # slow drift with saccades back to the middle
        eye[t] = 0.9 * eye[t - 1] + 0.4 * rng.standard_normal(2)
        if rng.random() < 0.05:
            eye[t] = rng.standard_normal(2)
    return np.stack([pupil, change, running], 1), [160, 118] + [7.5, 4.5] * _standard(eye)


def _standard(values):
    return (values - values.mean(0)) / values.std(0)
