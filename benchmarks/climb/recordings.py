"""The recordings of the climb: two sample mice, and one whose cells are a network and not Gabors.

The third is made from the published `sensorium-cnn`: 600 of its units see the simulator's images
through a moving eye, their rates have the simulator's gain and noise. It keeps anybody from tuning
to the simulator. It is not committed; `recordings.py` makes it in the data folder in a minute.
"""

import numpy as np
import torch

import kit
from kit.data.simulation import cells, mice, stimuli
from kit.files import atomic_write

NETWORK = "99011-1-1"
NAMES = ("sample", "sample+", "network")
TRUTHS = {"sample": "Gabors", "sample+": "Gabors", "network": "network"}  # what the cells are


def load(name):
    """A recording of the climb, and the responses of all its trials (T, N)."""
    if name != "network":
        return kit.load(name), kit.truth(name).responses
    path = kit.data_folder() / "climb" / f"static{NETWORK}-GrayImageNet-network.zip"
    responses = path.with_suffix(".npy")
    if not responses.exists():
        with atomic_write(responses) as part:
            np.save(part, simulate(path))
    return kit.load(path), np.load(responses)


def simulate(path, seed=11, neurons=600):
    """Write the recording to a zip. Returns all its responses (T, N), in units of their std."""
    rng = np.random.default_rng(seed)
    tiers = {"train": 1600, "validation": 200, "test": 60, "final_test": 60}
    session = stimuli.draw_session(tiers, rng)
    cell_rng, response_rng, order_rng = rng.spawn(3)
    network = kit.pretrained("sensorium-cnn")
    (readout,) = network.readouts.values()
    drawn = cells.draw_cells(neurons, cell_rng)
    chosen = np.sort(cell_rng.choice(len(readout.bias), neurons, replace=False))
    rates = seen_by(network, session)[:, chosen]
    rates /= rates.mean(0)
    events = cells.event_rates(torch.from_numpy(drawn["fev"]), torch.from_numpy(rates)).numpy()
    state = standardised(session, "behavior")[:, [0, 2]]  # pupil size and running speed
    gain = np.exp(state @ drawn["gain_weights"].T)
    _, responses = cells.draw_responses(rates * gain / gain.mean(0), events, response_rng)
    responses = (responses * drawn["scale"]).astype(np.float32)
    order = order_rng.permutation(len(responses))  # when the trial of each file was shown
    place = readout.cortical_positions.numpy()[chosen]
    recording = {name: values[order] for name, values in session.trials.items()} | {
        "images": session.pixels[session.image[order]],
        "responses": responses[order],
        "trial_idx": order,
        "unit_ids": drawn["unit_ids"],
        "cell_motor_coordinates": np.column_stack([308 + 308 * place, drawn["coordinates"][:, 2]]),
    }
    kit.data.official.write(path, recording, statistics_from=session.public[order])
    return (responses / responses[session.public].std(0))[order]


def seen_by(network, session):
    """The network's rates (T, all its neurons), with images that move as the eye does."""
    mean, std = mice._pixel_statistics(session)
    images = (mice._downsample(session.pixels) - mean) / std
    shift = torch.from_numpy(standardised(session, "pupil_center")) @ cells.EYE_TO_SHIFT
    rates = []
    with torch.inference_mode():
        for image, moved in zip(images[session.image].split(64), shift.split(64), strict=True):
            seen = cells._shift_images(image, moved).float()
            rates.append(network(kit.Batch(seen, None, None, None)).double())
    return torch.cat(rates).numpy()


def standardised(session, name):
    """Behaviour or eye position of all trials, z-scored by the public ones."""
    values = session.trials[name]
    public = values[session.public]
    return (values - public.mean(0)) / public.std(0)


if __name__ == "__main__":
    for name in NAMES:
        print(load(name)[0])
