"""Write README's score table and picture: train both baselines on the sample mice and grade them.

Takes some minutes. Run by `make refresh`.
"""

import tempfile
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
    "shifter-gain01": "the same, behaviour scaled to 0–1",
    "channels": "behaviour as input channels",
    "channels-shifter": "channels and eye position, as in 2022",
}
HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"


def graded(name, builder):
    """Train one baseline on one sample mouse and grade it on its final test set."""
    data = kit.load(name)
    model = builder(data, channels=16)
    log = kit.train(model, data)
    print(name, builder.__name__, log, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        submitted = kit.submit(model, data, folder)
        truths = kit.write_ground_truth(data, kit.sample.truth(name).responses, folder)
        return model, log, kit.grade(submitted[1], truths[1])


def table(runs):
    """The table in Markdown, sample and real mice in their own columns."""
    lines = [
        "| track | model | sample mouse: single-trial | to average | FEVE "
        "| real mouse, published: single-trial | to average | FEVE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, kind), (_, _, scores) in runs.items():
        ours = (
            f"{value:.3f}"[1:] for value in (scores.single_trial, scores.to_average, scores.feve)
        )
        published = kit.catalog.WEIGHTS[f"{TRACKS[name]}-{kind}".lower()].final
        theirs = (f"{value:.3f}"[1:] if value else "–" for value in published)
        row = [TRACKS[name], kind, *ours, *theirs]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def ablation():
    """What each part buys, in Markdown: the shipped models, measured anew."""
    lines = [
        "| the CNN of `sample+` takes | single-trial, mean of three seeds ± s.e.m. |",
        "|---|---|",
    ]
    for parts in PARTS:
        models = [kit.pretrained(f"sample+-{parts}-{seed}") for seed in SEEDS[parts]]
        scores = np.array([measured(model, "sample+")[1] for model in models[:3]])
        lines.append(
            f"| {NAMES[parts]} | {scores.mean():.3f} ± {scores.std(ddof=1) / 3**0.5:.3f} |"
        )
        if len(models) > 3:
            together = measured(kit.ensemble(models), "sample+")[1]
            lines.append(f"| {NAMES[parts]}, the mean of {len(models)} models | {together:.3f} |")
    return "\n".join(lines)


def picture(runs):
    """Four panels: what the mouse saw, learning, one neuron, and the map of receptive fields."""
    data, truth = kit.load("sample+"), kit.sample.truth("sample+")
    (_, linear_log, _), (cnn, cnn_log, scores) = runs["sample+", "LN"], runs["sample+", "CNN"]
    recording = data.mouse
    rows = recording.rows("final_test")
    best = scores.per_neuron["to_average"].argmax()
    figure, axes = plt.subplots(2, 2, figsize=(11, 6.6), dpi=90, layout="constrained")
    kit.plots.images(recording.first("train", 12).images, axes[0, 0]).set_title(
        "what the mouse saw"
    )
    kit.plots.training(linear_log, axes[0, 1], label="linear", color=kit.plots.ORANGE)
    kit.plots.training(cnn_log, axes[0, 1], label="CNN")
    kit.plots.level(ceiling("sample+", "validation"), "the true rates would score this", axes[0, 1])
    axes[0, 1].set_title("what two CPU cores learn in a minute")
    kit.plots.neuron(
        truth.responses[rows, best],
        kit.predict(cnn, data, "final_test")[:, best],
        recording.image_ids[rows],
        axes[1, 0],
        rates=truth.rates[rows, best],
    ).set_title("one neuron, on images with withheld responses")
    kit.plots.positions(cnn.centers(recording), truth.centers, axes[1, 1])
    figure.savefig(HERE / "readme.png")


def main():
    runs = {
        (name, kind): graded(name, builder) for name in TRACKS for kind, builder in BUILDERS.items()
    }
    picture(runs)
    ceilings = " and ".join(f"{ceiling(name, 'final_test'):.3f}"[1:] for name in TRACKS)
    note = (
        f"The true rates of the two sample mice score {ceilings} on single trials: no model can "
        "expect more."
    )
    before, _, rest = README.read_text().partition("<!-- scores -->\n")
    _, _, after = rest.partition("<!-- /scores -->")
    README.write_text(
        f"{before}<!-- scores -->\n{table(runs)}\n\n{note}\n\n{ablation()}\n<!-- /scores -->{after}"
    )


if __name__ == "__main__":
    main()
