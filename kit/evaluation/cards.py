"""Model cards: what a model is, how well it predicts, and what it must not be used for."""

from pathlib import Path
from textwrap import indent

import numpy as np

from kit.checks import brief, require, require_path, require_result
from kit.data import simulation
from kit.data.recordings import Dataset, require_dataset
from kit.data.sources.catalog import RECORDINGS
from kit.evaluation.bootstrap import interval
from kit.evaluation.leaderboard import Measured
from kit.evaluation.scores import predict
from kit.files import atomic_write
from kit.models.checkpoints import file_content
from kit.models.model import Model
from kit.models.pretrained import SHIPPED

TEMPLATE = Path(__file__).with_name("card.md")


class Card(str):
    """A model card: Markdown text, which a notebook shows as a page."""

    def _repr_markdown_(self) -> str:
        return str(self)


def card(
    model: Model,
    data: Dataset | None = None,
    recipe: object = None,
    report_card: object = None,
    path: str | Path | None = None,
) -> Card:
    """Describe a model in Markdown: data, recipe, scores with intervals, and what it is not for.

    data: the mice to score it on. Without the next three a model that comes with the kit has its
    own card. recipe: the `kit.TrainConfig` that it was trained with, or a sentence. report_card: of
    `kit.lab.report_card`. path: a .md file to write. Raises ValueError if `model` is not a
    `kit.Model` or the data do not fit it.

    >>> kit.card(kit.pretrained("sample+-cnn"), path="card.md").splitlines()[0]
    '# Model card: CNN of 4 convolutional layers, mouse 99002-1-1'
    """
    if not (recipe is None or isinstance(recipe, str) or hasattr(recipe, "epochs")):
        raise ValueError(f"recipe={brief(recipe)} is none; give the kit.TrainConfig, or a sentence")
    if report_card is not None:
        require_result("report_card", report_card, "twin", "one of kit.lab.report_card")
    if path is not None:  # before scores that take long
        path = require_path("path", path)
        if path.suffix.lower() != ".md":
            raise ValueError(f"{path} is no place for a card; name a file that ends in .md")
    sha256 = file_content(require("model", model, Model))[0]["sha256"]
    own = [file.read_text(encoding="utf-8") for file in SHIPPED.glob("*.md")]
    own = [text for text in own if sha256 in text]
    if own and data is recipe is report_card is None:
        text = own[0]
    else:
        text = TEMPLATE.read_text(encoding="utf-8").format(
            label=getattr(model.core, "label", type(model.core).__name__),
            mice=", ".join(model.neuron_counts),
            model=indent(repr(model), "    "),
            sha256=sha256,
            origins="\n".join(f"- {mouse}: {_origin(mouse)}" for mouse in model.neuron_counts),
            recipe="Not recorded." if recipe is None else indent(str(recipe), "    "),
            scores="Not measured." if data is None else "\n".join(_table(model, data)),
            report="None." if report_card is None else indent(str(report_card), "    "),
        )
    if path is not None:
        with atomic_write(path) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
    return Card(text)


def _origin(mouse):
    if simulation.is_simulated(mouse):
        return (
            f"simulated (version {simulation.VERSION} of the simulator); no claim about real mice"
        )
    if mouse in RECORDINGS:
        return f"a real mouse of SENSORIUM 2022, {RECORDINGS[mouse].role}"
    return "a recording of your own"


def _table(model, data):
    """The scores on each tier of known responses, and the best that is possible, in Markdown."""
    yield "| mouse | tier | model | single-trial | to average | FEVE |\n|---|---|---|---|---|---|"
    for mouse, recording in require_dataset(data).items():
        truth = _truth(recording)
        for tier in ("validation", "test", "final_test"):
            if tier not in recording.tiers or (recording.withheld(tier) and not truth):
                continue
            rows = recording.rows(tier)
            responses = (truth or recording).responses[rows]
            measured = Measured(responses, recording.image_ids[rows], recording.unit_ids)
            start = f"| {mouse} | {tier} |"
            yield f"{start} this one | {_scores(measured, predict(model, data, tier, mouse))} |"
            if truth:
                yield f"{start} true rates | {_scores(measured, truth.rates[rows])} |"
            elif measured.repeats:
                ceiling = measured.scores(responses).ceiling
                yield f"{start} best model of the image alone | {ceiling:.3f} | – | 1 |"


def _truth(recording):
    """The truth behind a sample mouse; None for any other recording."""
    if simulation.is_simulated(recording.mouse):
        truth = simulation.truth(recording.mouse)
        known = ~np.isnan(recording.responses)
        if known.shape == truth.responses.shape and np.allclose(
            recording.responses[known], truth.responses[known], 1e-4
        ):
            return truth
    return None


def _scores(measured, predictions):
    """The three scores of predictions (T, N), with intervals where three images allow them."""
    scores, cells = measured.scores(predictions), []
    for name in ("single_trial", "to_average", "feve"):
        value = getattr(scores, name)
        cells.append("–" if value is None else f"{value:.3f}")
        if value is not None and name != "feve" and len(np.unique(measured.images)) > 2:
            low, high = interval(measured.image_score(predictions, name))
            cells[-1] += f" ({low:.3f} to {high:.3f})"
    return " | ".join(cells)
