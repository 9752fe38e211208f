"""Simulated mice whose truth is known, written in the official layout on first use.

A small model of V1: Gabor cells, simple and complex, divided by the contrast around them, whose
gain follows pupil and running and whose fields move with the eye, seen through sparse, Gamma-like
noise. The truth lies beside the recording; only `truth` opens it.
"""

import hashlib
import os
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, grid_sample

from kit.catalog import data_folder
from kit.files import progress, whole
from kit.layout import UNREADABLE, write

VERSION = 1  # part of every file name: a changed simulator never meets an old file
HEIGHT, WIDTH = 144, 256  # of the images on disk; cells see them at half of this


@dataclass(frozen=True)
class Mouse:
    """What is simulated for one mouse."""

    mouse: str
    seed: int
    withholds: tuple = ()  # of "responses" (of the test tiers) and "behavior"
    neurons: int = 600
    train: int = 1600      # images shown once
    validation: int = 200  # images shown once
    test: int = 60         # images shown about ten times; as many again in final_test
    final_test: int = 60


MICE = {spec.mouse: spec for spec in (
    Mouse("99001-1-1", 1, withholds=("responses", "behavior")),  # like 26872-17-20
    Mouse("99002-1-1", 2, withholds=("responses",)),             # like 27204-5-13
    Mouse("99003-1-1", 3, final_test=0),                         # like the open mice
    Mouse("99004-1-1", 4, final_test=0),
)}
NAMES = {"sample": ["99001-1-1"], "sample+": ["99002-1-1"],
         "sample-pretrain": ["99003-1-1", "99004-1-1"]}


@dataclass(frozen=True)
class Truth:
    """Everything that the simulation knows and a recording does not say. N neurons, T trials.

    Positions are in half images from the centre of the image: x and y run from -1 to 1.
    Responses and rates are in the recording's units: divided by each neuron's std.
    """

    centers: np.ndarray            # (N, 2) x, y of the receptive field while the eye is at its mean
    orientation: np.ndarray        # (N,) radians in [0, pi): the direction across the stripes
    spatial_frequency: np.ndarray  # (N,) cycles per pixel of the 36 x 64 image
    is_complex: np.ndarray         # (N,) bool; the others are simple cells
    gain: np.ndarray               # (T, N) factor that pupil and running put on the rate
    eye_shift: np.ndarray          # (T, 2) how far all fields moved, same units as centers
    rates: np.ndarray              # (T, N) noiseless rate of every trial
    frozen_rates: np.ndarray       # (T, N) the same had behaviour and eye stayed at their means
    responses: np.ndarray          # (T, N) every response, the withheld ones too


def path(mouse, folder=None):
    """Path of a sample mouse's zip, simulated on first use (some seconds) and then kept."""
    target = _place(mouse, folder)
    if not (target.exists() and _beside(target).exists()):
        _simulate(MICE[mouse], target)
    return target


def truth(name, folder=None):
    """The truth behind a sample mouse, as a `Truth`. name: "sample", "sample+" or a mouse's id."""
    mice = NAMES.get(name, [name])
    if len(mice) > 1:
        raise ValueError(f"{name!r} holds the mice {', '.join(mice)}; ask for one of them")
    if mice[0] not in MICE:
        raise ValueError(f"{name!r} is not a simulated mouse; there is a truth for "
                         f"{', '.join(repr(n) for n in [*NAMES, *MICE])}")
    beside = _beside(path(mice[0], folder))
    try:
        with np.load(beside) as file:
            return Truth(**{field.name: file[field.name] for field in fields(Truth)})
    except (*UNREADABLE, KeyError):
        raise ValueError(f"{beside} is damaged; delete that file and it is simulated "
                         "anew") from None


# ---- the simulation: images, trials, behaviour, cells, noise ----

def _simulate(spec, target):
    """Simulate one mouse and write its recording and, before it, its truth."""
    stream = iter(np.random.default_rng(spec.seed).spawn(5))  # one for each part
    trials = _trials(spec, next(stream))
    images = _images(trials["images"], next(stream))
    behavior, pupil_center = _behavior(len(trials["tiers"]), next(stream))
    cells = _cells(spec.neurons, next(stream))

    eye_shift = _standard(pupil_center) @ EYE  # (T, 2)
    frozen = _drive(images, np.zeros((len(images), 2)), cells)  # (images, N)
    scale = frozen.mean(0)
    frozen /= scale
    # the noise variance of such events is 3 / events: few events where the image drives strongly
    cells["events"] = np.minimum(1.2, 3 * cells["fev"] / (1 - cells["fev"]) / frozen.var(0))
    frozen = frozen[trials["image"]]  # (T, N)
    rates = _drive(images[trials["image"]], eye_shift, cells) / scale
    gain = np.exp(_standard(behavior)[:, [0, 2]] @ cells["gain_weights"])
    gain /= gain.mean(0)
    rates = rates * gain
    responses = _noise(rates, cells, next(stream))  # (T, N)

    seen = np.isin(trials["tiers"], ["train", "validation"])
    std = responses[seen].std(0)
    std[std == 0] = 1  # a neuron that never fired
    unit = cells["scale"] / std
    visible = responses.copy()
    if "responses" in spec.withholds:
        visible[~seen] = 0
    hidden = 0 if "behavior" in spec.withholds else 1
    f32 = np.float32
    with whole(_beside(target)) as part:
        np.savez(part, centers=cells["centers"], orientation=cells["orientation"],
                 spatial_frequency=1 / cells["wavelength"], is_complex=cells["is_complex"],
                 gain=f32(gain), eye_shift=eye_shift, rates=f32(rates * unit),
                 frozen_rates=f32(frozen * unit), responses=responses / std)
    write(target, statistics_from=seen, recording={
        "images": images[trials["image"]], "responses": visible, "behavior": behavior * hidden,
        "pupil_center": pupil_center * hidden, "tiers": trials["tiers"],
        "trial_idx": trials["trial_idx"], "frame_image_id": trials["image_id"],
        "unit_ids": cells["unit_ids"], "cell_motor_coordinates": cells["coordinates"]})
    os.utime(target, (0, 0))  # simulated twice, it is the same file, and packed once


def _trials(spec, rng):
    """Which image each trial shows and in which tier, in random order."""
    tiers, image = [], []
    shown = 0
    for tier, count in (("train", spec.train), ("validation", spec.validation),
                        ("test", spec.test), ("final_test", spec.final_test)):
        once = tier in ("train", "validation")
        repeats = np.full(count, 1) if once else 10 - (rng.random((count, 3)) < 0.05).sum(1)
        image.append(np.repeat(np.arange(shown, shown + count), repeats))
        tiers += [tier] * repeats.sum()
        shown += count
    order = rng.permutation(len(tiers))
    image, tiers = np.concatenate(image)[order], np.array(tiers)[order]
    ids = rng.choice(10_000, size=shown, replace=False)
    trial_idx = np.arange(len(tiers))
    if "responses" in spec.withholds:  # competition mice hide the order of their trials
        trial_idx = np.array([hashlib.md5(f"{spec.mouse}/{trial}".encode()).hexdigest()
                              for trial in trial_idx])
    return {"tiers": tiers, "image": image, "images": shown, "image_id": ids[image],
            "trial_idx": trial_idx}


def _images(count, rng):
    """Dead leaves with 1/f texture: occlusion and natural statistics. (count, 1, 144, 256)."""
    rows, columns, margin = 4, 4, 140  # one sheet is cut into so many images
    height, width = rows * HEIGHT, columns * WIDTH
    leaves, texture = [_leaf(rng) for _ in range(1500)], _pink(1024, rng)
    each = rows * columns
    images = np.empty((-(-count // each) * each, HEIGHT, WIDTH), np.float32)
    starts = range(0, len(images), each)
    for start in progress(starts, desc="painting images", unit="sheet"):
        sheet = np.tile(texture, (1, 2))[:height + 2 * margin, :width + 2 * margin] * 0.8
        kinds = rng.integers(len(leaves), size=3200)  # enough to hide nearly all of what lies below
        for kind, (down, right, v, u, tone) in zip(kinds, rng.random((3200, 5)), strict=True):
            h, w = leaves[kind].shape
            y, x = int(down * (sheet.shape[0] - h)), int(right * (sheet.shape[1] - w))
            v, u = int(v * (1024 - h)), int(u * (1024 - w))
            shade = texture[v:v + h, u:u + w] * 0.45 + (3 * tone - 1.5)
            np.copyto(sheet[y:y + h, x:x + w], shade, where=leaves[kind])
        sheet = sheet[margin:-margin, margin:-margin].reshape(rows, HEIGHT, columns, WIDTH)
        images[start:start + each] = sheet.swapaxes(1, 2).reshape(each, HEIGHT, WIDTH)
    brightness = rng.normal(113.5, 38, (count, 1, 1)).astype(np.float32)
    contrast = rng.normal(55, 18, (count, 1, 1)).clip(15, 100).astype(np.float32)
    pixels = np.empty((count, 1, HEIGHT, WIDTH), np.uint8)
    for start in range(0, count, each):  # in blocks, which saves half a gigabyte
        block = slice(start, min(start + each, count))
        image = images[block] - images[block].mean((1, 2), keepdims=True)
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


def _behavior(trials, rng):
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


FEV = (5.6, 16.0)  # of a Beta distribution over cells: mean .26, before the ceiling on events
# how one standard deviation of eye position moves every field, in half images
EYE = np.array([[0.035, 0.004], [-0.004, 0.030]])


def _cells(neurons, rng):
    """Draw the cells: place in cortex, field, tuning, gain and noise."""
    coordinates = np.column_stack([rng.uniform(0, 616, (neurons, 2)),
                                   200 + 5 * rng.integers(0, 10, neurons)])
    place = (coordinates[:, :2] - 308) / 308  # -1 to 1
    # retinotopy: an affine map, turned by about 90 degrees, and a modest scatter of single cells
    retinotopy = np.array([[0.03, -0.20], [0.20, 0.02]])
    centers = place @ retinotopy + [0.05, -0.04] + 0.03 * rng.standard_normal((neurons, 2))
    # low, as mice see: .04 cycles a degree, if a pixel of 36 x 64 is taken for 2 degrees
    wavelength = 13 * 2 ** rng.normal(0, 0.65, neurons).clip(-1.4, 1.4)  # pixels
    size = (wavelength / 13) ** 0.5 * np.exp(0.12 * rng.standard_normal(neurons))
    return {
        "coordinates": coordinates, "centers": centers, "wavelength": wavelength,
        "unit_ids": np.sort(rng.choice(12 * neurons, neurons, replace=False)),
        "sigma": size[:, None] * [5.0, 3.0],  # (N, 2) width and height of the envelope, pixels
        "orientation": rng.uniform(0, np.pi, neurons),
        "phase": rng.uniform(0, 2 * np.pi, neurons),
        "is_complex": rng.random(neurons) < 0.35,  # an assumption: simple cells prevail
        "tuning": rng.beta(4, 1.2, neurons),  # share of the rate that the image drives; some weak
        "gain_weights": np.stack([rng.normal(0.135, 0.06, neurons),   # x 1.5 from -1.5 to 1.5 std
                                  rng.normal(0.182, 0.08, neurons)]),  # + 20 % for one std
        "fev": rng.beta(*FEV, neurons),  # what the noise should leave of the image's part
        "scale": np.exp(0.8 * rng.standard_normal(neurons)),
    }


def _drive(images, shift, cells):
    """Rate of every cell for every image, before gain, (T, N). shift: (T, 2) in half images."""
    rows, columns = HEIGHT // 2, WIDTH // 2
    y, x = np.mgrid[:rows, :columns].reshape(2, -1) / 2 - [[17.75], [31.75]]  # 36 x 64 pixels
    dx = x[:, None] - 32 * cells["centers"][:, 0]  # (P, N)
    dy = y[:, None] - 18 * cells["centers"][:, 1]
    width, height = cells["sigma"].T
    wave = 2 * np.pi / cells["wavelength"] * (
        np.cos(cells["orientation"]) * dx + np.sin(cells["orientation"]) * dy) + cells["phase"]
    envelope = np.exp(-(dx / width) ** 2 / 2 - (dy / height) ** 2 / 2)
    envelope /= envelope.sum(0)
    even, odd = envelope * np.cos(wave), envelope * np.sin(wave)
    even -= envelope * even.sum(0)  # blind to mean luminance
    odd -= envelope * odd.sum(0)
    pool = np.exp(-(dx / width) ** 2 / 8 - (dy / height) ** 2 / 8)  # twice as wide
    filters = [torch.from_numpy(f.astype(np.float32)) for f in (even, odd, pool / pool.sum(0))]

    rates = []
    for start in progress(range(0, len(images), 256), desc="responding", unit="block"):
        block = torch.from_numpy(images[start:start + 256]).float()
        block = _moved(avg_pool2d(block / 127.5 - 1, 2), shift[start:start + 256]).flatten(1)
        even, odd = block @ filters[0], block @ filters[1]
        mean = block @ filters[2]
        contrast = (block**2 @ filters[2] - mean**2).clamp(min=0)  # (T, N) local variance
        simple, energy = 2 * even.clamp(min=0) ** 2, even**2 + odd**2
        driven = torch.where(torch.from_numpy(cells["is_complex"]), energy, simple)
        rates.append((driven / (0.01 + contrast)).double().numpy())
    rates = np.concatenate(rates)
    typical = rates.mean(0)
    return cells["tuning"] * rates + (1 - cells["tuning"]) * typical


def _moved(images, shift):
    """Images as seen by fields that moved by `shift`: moved the other way, grey outside."""
    rows, columns = images.shape[-2:]
    y = (torch.arange(rows) + 0.5) / rows * 2 - 1
    x = (torch.arange(columns) + 0.5) / columns * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # (rows, columns, 2)
    shift = torch.as_tensor(shift, dtype=torch.float32)[:, None, None]
    return grid_sample(images, grid + shift, mode="bicubic", align_corners=False)


def _noise(rates, cells, rng):
    """Responses to rates of mean 1: a Poisson number of calcium events, each Gamma-sized."""
    shape = 0.5  # of one event's size; the events of a trial add up to shape 0.5 * events
    events = rng.poisson(rates * cells["events"])
    responses = rng.standard_gamma(shape * events) * (cells["scale"] / shape / cells["events"])
    return responses.astype(np.float32)


def _standard(values):
    return (values - values.mean(0)) / values.std(0)


def _place(mouse, folder):
    return (data_folder(folder) / "sample"
            / f"static{mouse}-GrayImageNet-simulated{VERSION}.zip")


def _beside(target):
    return target.with_name(target.stem + "-truth.npz")
