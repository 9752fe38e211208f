"""A recording of a few neurons and trials in the official layout, written in a moment."""

import hashlib
import io
import zipfile
from dataclasses import replace

import numpy as np
import torch

import kit

TIERS = {"train": 40, "validation": 12}
TEST = {"test": (4, 4, 3), "final_test": (4, 3)}  # how often each image of a tier is shown


def arrays(seed=0, neurons=24, tiers=TIERS, test=TEST, hashed=True):
    """What `kit.data.official.write` takes: each neuron likes brightness at its own place.

    hashed: whether trial ids are 32 characters, as in the competition mice, or integers.
    """
    rng = np.random.default_rng(seed)
    shows = [(tier, 1) for tier, count in tiers.items() for _ in range(count)]
    shows += [(tier, count) for tier, counts in test.items() for count in counts]
    image = np.repeat(np.arange(len(shows)), [count for _, count in shows])
    image = image[rng.permutation(len(image))]  # (T,)
    trials = len(image)
    coarse = rng.standard_normal((len(shows), 1, 9, 16))
    blocks = np.kron(coarse, np.ones((1, 1, 16, 16)))  # (images, 1, 144, 256)
    place = rng.uniform(0, 616, (neurons, 3))
    y = (2 + 5 * place[:, 1] / 616).astype(int)
    x = (4 + 8 * place[:, 0] / 616).astype(int)
    rate = 0.1 + np.exp(1.2 * coarse[image, 0][:, y, x])  # (T, N)
    ids = np.arange(trials)
    if hashed:
        ids = np.array([hashlib.md5(str(i).encode()).hexdigest() for i in ids])
    return {
        "images": (110 + 45 * blocks).clip(0, 255).astype(np.uint8)[image],
        "responses": (rate * rng.gamma(4, 0.25, (trials, neurons))).astype(np.float32),
        "behavior": rng.uniform(1, 3, (trials, 3)),
        "pupil_center": rng.normal([160, 118], [7, 4], (trials, 2)),
        "tiers": np.array([tier for tier, _ in shows])[image],
        "trial_idx": ids,
        "frame_image_id": 1000 + 7 * image,
        "unit_ids": 5 + 3 * rng.permutation(neurons),  # not contiguous, not sorted
        "cell_motor_coordinates": place,
    }


def write(folder, recording=None, mouse="7-1-1", withholds=()):
    """Write a recording and return the path of its zip.

    withholds: of "responses" (zeros in the test tiers) and "behavior" (zeros throughout).
    """
    recording = dict(recording or arrays())
    seen = np.isin(recording["tiers"], ["train", "validation"])
    if "responses" in withholds:
        recording["responses"] = recording["responses"] * seen[:, None]
    if "behavior" in withholds:
        recording |= {name: 0 * recording[name] for name in ("behavior", "pupil_center")}
    path = folder / f"static{mouse}-GrayImageNet-tiny.zip"
    kit.data.official.write(path, recording, statistics_from=seen)
    return path


def with_columns(data, *names, eye=True):
    """The same mice with other columns of behaviour. eye: whether its position is known."""
    behavior = np.random.default_rng(7).uniform(1, 3, (len(data.mouse.tiers), len(names)))
    mice = []
    for mouse in data.values():
        statistics = {**mouse.statistics, "behavior_average": behavior.mean(0)}
        changes = {"behavior": behavior.astype(np.float32), "behavior_names": names}
        if not eye:
            changes["pupil_center"] = None
        mice.append(replace(mouse, **changes, statistics=statistics))
    return kit.Dataset(mice)


def standardised(recording):
    """The responses of all trials in units of each neuron's std, as the recording has them."""
    seen = np.isin(recording["tiers"], ["train", "validation"])
    return recording["responses"] / recording["responses"][seen].std(0)


def rewritten(source, target, rename=str, changes=None):
    """A copy of a zip with members renamed, and others replaced by bytes or (None) left out."""
    changes = changes or {}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            short = name.partition("/")[2]
            content = changes.get(short, old.read(name))
            if content is not None:
                new.writestr(rename(name), content)
            top = name.partition("/")[0]
        for name in changes.keys() - {n.partition("/")[2] for n in old.namelist()}:
            new.writestr(
                f"{top}/{name}" if name.startswith(("data/", "meta/")) else name, changes[name]
            )
    return target


def npy(array, **options):
    """The bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def twin(layers=3, nonlinear=True, mice=("7-1-1",), **config):
    """A model of 20 neurons and images of 19 x 32 pixels. All its numbers are random, so every
    part has an effect; its eye moves positions beyond the edge.
    """
    config = kit.ModelConfig(image_size=(19, 32), **config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        core = kit.layers.ConvCore(5, config.core_channels, layers, nonlinear)
    places = np.random.default_rng(1).uniform(0, 616, (20, 2))
    model = kit.Model(core, dict.fromkeys(mice, places), config)
    generator = torch.Generator().manual_seed(2)
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        noise = torch.rand(value.shape, generator=generator)
        positive = name.endswith(("running_var", "span"))
        value.copy_(noise + 1 if positive else value + 0.5 * noise - 0.25)
    for part in [
        *model.shifters.values(),
        *(each.position_mlp for each in model.readouts.values()),
    ]:
        layers = [each for each in part.modules() if isinstance(each, torch.nn.Linear)]
        layers[-1].weight.data.mul_(8)  # positions spread over the image, and leave it
    return model
