"""Write README's score tables, measured again from the shipped models, and its picture.

Takes some minutes. Run by `make refresh`, after `make weights` where models have changed.
"""

from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from weights import BUILDERS, PARTS, SEEDS, TRACKS, ceiling, measured

import kit

NAMES = {
    "plain": "images alone",
    "shifter": "eye position",
    "gain": "a gain from behaviour",
    "shifter-gain": "eye position and gain",
    "shifter-gain01": "eye position and gain, behaviour scaled to 0–1",
    "channels": "behaviour as input channels",
    "channels-shifter": "channels and eye position, as in 2022",
}
HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"


def table():
    """Both baselines in Markdown, sample and real mice in their own columns."""
    lines = [
        "| track | model | sample mouse: single-trial | to average | FEVE "
        "| real mouse, published: single-trial | to average | FEVE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, kind in product(TRACKS, BUILDERS):
        _, *scores = measured(kit.pretrained(f"{name}-{kind.lower()}"), name)
        ours = map(short, scores)
        published = kit.data.catalog.WEIGHTS[f"{TRACKS[name]}-{kind}".lower()].final
        theirs = (short(value) if value else "–" for value in published)
        row = [TRACKS[name], kind, *ours, *theirs]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def short(value):
    """A score below 1 as the literature writes it: .384."""
    return f"{value:.3f}".removeprefix("0")


def ablation():
    """What each part buys, in Markdown: the shipped models, measured again."""
    lines = [
        "| the CNN of `sample+`, trained 12 epochs, takes | single-trial, three seeds ± s.e.m. |",
        "|---|---|",
    ]
    for parts in PARTS:
        models = [kit.pretrained(f"sample+-{parts}-{seed}") for seed in SEEDS[parts]]
        scores = np.array([measured(model, "sample+")[1] for model in models[:3]])
        lines.append(
            f"| {NAMES[parts]} | {short(scores.mean())} ± {short(scores.std(ddof=1) / 3**0.5)} |"
        )
        if len(models) > 3:
            together = measured(kit.ensemble(models), "sample+")[1]
            lines.append(
                f"| {NAMES[parts]}, the mean of {len(models)} models | {short(together)} |"
            )
    return "\n".join(lines)


def picture():
    """Four panels: what the mouse saw, learning, one neuron, and the map of receptive fields."""
    data, truth = kit.load("sample+"), kit.truth("sample+")
    recording, cnn = data.mouse, kit.pretrained("sample+-cnn")
    logs = [kit.train(builder(data, channels=16), data) for builder in BUILDERS.values()]
    rows = recording.rows("final_test")
    predictions = kit.predict(cnn, data, "final_test")
    best = kit.metrics.correlation_to_average(
        predictions, truth.responses[rows], recording.image_ids[rows]
    ).argmax()
    figure, axes = plt.subplots(2, 2, figsize=(11, 6.6), dpi=90, layout="constrained")
    kit.plots.images(recording.first("train", 12).images, axes[0, 0]).set_title(
        "what the mouse saw"
    )
    kit.plots.training_curve(logs[0], axes[0, 1], label="linear", color=kit.plots.ORANGE)
    kit.plots.training_curve(logs[1], axes[0, 1], label="CNN")
    kit.plots.reference_line(
        ceiling("sample+", "validation"), "the true rates would score this", axes[0, 1]
    )
    axes[0, 1].set_title("what two CPU cores learn in a minute")
    kit.plots.mean_responses(
        truth.responses[rows, best],
        predictions[:, best],
        recording.image_ids[rows],
        axes[1, 0],
        rates=truth.rates[rows, best],
    ).set_title("one neuron, on images with withheld responses")
    kit.plots.positions(cnn.centers(recording), truth.centers, axes[1, 1])
    figure.savefig(HERE / "readme.png")


def main():
    picture()
    ceilings = " and ".join(short(ceiling(name, "final_test")) for name in TRACKS)
    note = (
        f"The true rates of the two sample mice score {ceilings} on single trials: no model can "
        "expect more."
    )
    before, _, rest = README.read_text().partition("<!-- scores -->\n")
    _, _, after = rest.partition("<!-- /scores -->")
    README.write_text(
        f"{before}<!-- scores -->\n{table()}\n\n{note}\n\n{ablation()}\n<!-- /scores -->{after}"
    )


if __name__ == "__main__":
    main()
