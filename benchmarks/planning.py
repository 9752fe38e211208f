"""Whether what `kit.lab.data_needed` expects comes true, on simulated mice with twice the images.

A mouse of 3,200 train images is simulated; the plan is made from half of them, then the other half
is used. Some fifteen minutes on two cores. --seed: another mouse.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import kit
from kit.data.simulation.mice import Mouse, simulate

EPOCHS, IMAGES = 12, 1600


def build(data, seed):
    """A CNN of 16 channels with gain; each part is trained for as many steps."""
    config = kit.ModelConfig(shifter=True, gain=True, minmax_behavior=True, seed=seed)
    model = kit.cnn_baseline(data, channels=16, config=config)
    epochs = EPOCHS * IMAGES // len(data.mouse.rows("train"))
    kit.train(model, data, kit.TrainConfig(epochs=epochs, seed=seed))
    return model


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=5)
    seed = parser.parse_args().seed
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"static9900{seed}-1-1-GrayImageNet-simulated.zip"
        simulate(Mouse(f"9900{seed}-1-1", seed, train=2 * IMAGES, final_test=0), path)
        data = kit.load(path, folder=folder)
        start = time.perf_counter()
        print(kit.lab.data_needed(data.subset(IMAGES), build), flush=True)
        print(f"{time.perf_counter() - start:.0f} s; and so it is:")
        scores = [
            kit.score(build(data, each), data, "validation").single_trial for each in range(2)
        ]
        print(f"score of {2 * IMAGES} images: {np.mean(scores):.3f}")
        second = kit.Dataset([data.mouse.with_train(data.mouse.rows("train")[IMAGES:])])
        halves = [build(data.subset(IMAGES), 0), build(second, 1)]
        tunings = [kit.lab.orientation_tuning(each) for each in halves]
        turned = kit.lab.indices.orientation_difference(*(each.preferred for each in tunings))
        selective = np.mean([each.selectivity for each in tunings], 0) >= 0.2
        print(f"orientation at {IMAGES} images: {np.degrees(np.median(turned[selective])):.1f}")


if __name__ == "__main__":
    main()
