"""Write README's score tables, measured again from the shipped models, and its picture.

Takes some minutes. Run by `make refresh`, after `make weights` where models have changed.
"""

from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from weights import BUILDERS, PARTS, SEEDS, TRACKS, ceiling, measured, short

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
        published = kit.data.sources.catalog.WEIGHTS[f"{TRACKS[name]}-{kind}".lower()].final
        theirs = (short(value) if value else "–" for value in published)
        row = [TRACKS[name], kind, *ours, *theirs]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


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
    """What the mouse saw, most exciting images beside true filters, orientations, a report card."""
    recording, truth = kit.load("sample+").mouse, kit.truth("sample+")
    twin = kit.pretrained("sample+-cnn")
    card = kit.lab.report_card(twin, truth)
    figure = plt.figure(figsize=(11, 8.4), dpi=90, layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=(1, 1.7), width_ratios=(1, 1, 1.05))
    saw, liked, cortex = (figure.add_subplot(grid[0, i]) for i in range(3))
    kit.plots.images(recording.first("train", 12).images, saw, 3).set_title(
        "what the simulated mouse saw"
    )
    six = np.array([4, 16, 40, 76, 92, 8])
    images = card.twin["most_exciting_image"][six, 0]
    pairs = np.stack([images, truth.cells.filters()[0][six]], 1).reshape(12, *images.shape[1:])
    kit.plots.stimuli(
        pairs,
        liked,
        4,
        "most exciting image and true filter\nof six neurons",
    )
    kit.plots.orientation_map(recording.coordinates, card.twin["orientation"], cortex)
    cortex.set_title("preferred orientation over cortex")
    below = kit.plots.report_card(card, figure.add_subplot(grid[1, :]))
    below.set_title("the report card of a model: its answers, and those of the true cells", pad=24)
    figure.savefig(HERE / "readme.png")


def main():
    picture()
    ceilings = " and ".join(short(ceiling(name, "final_test")) for name in TRACKS)
    recording, truth = kit.load("sample+").mouse, kit.truth("sample+")
    rows = recording.rows("final_test")
    true = kit.evaluation.compute_scores(
        truth.rates[rows], truth.responses[rows], recording.image_ids[rows], recording.unit_ids
    )
    note = (
        f"The true rates of the two sample mice score {ceilings} on single trials: no model can "
        "expect more. FEVE counts behaviour as noise: the best\nmodel of the image alone scores 1, "
        "and one that also sees behaviour can score more (the true rates of `sample+` "
        f"{true.feve:.2f}), so 1 is not the best there."
    )
    before, _, rest = README.read_text().partition("<!-- scores -->\n")
    _, _, after = rest.partition("<!-- /scores -->")
    README.write_text(
        f"{before}<!-- scores -->\n{table()}\n\n{note}\n\n{ablation()}\n<!-- /scores -->{after}"
    )


if __name__ == "__main__":
    main()
