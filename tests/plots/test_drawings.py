"""The drawings of a model and of the tiers, read back from their texts and bars."""

import numpy as np
import pytest
import tiny
import torch

import kit
from kit import plots

NEURONS = {"1-1-1": np.random.default_rng(0).uniform(0, 600, (7, 3))}


def texts(ax):
    return [text.get_text() for text in ax.texts]


def model(**config):
    channels = 4 if config.get("behavior_channels") else 1
    return kit.Model(torch.nn.Conv2d(channels, 5, 9), NEURONS, kit.ModelConfig(**config))


def test_model_drawing_writes_the_shapes_of_the_model():
    drawn = "\n".join(texts(plots.model_drawing(model(shifter=True, gain=True))))
    for words in (
        "image\n1 × 36 × 64",
        "core\nConv2d",
        "features\n5 × 28 × 56",
        "5 weights",
        "place in cortex\n2 → 30 → 2",
        "shifter\n2 → 5 → 5 → 2",
        "gain\n3 → 10 → 7",
        "prediction\n7 neurons",
    ):
        assert words in drawn


def test_model_drawing_of_several_mice_shows_the_first():
    neurons = NEURONS | {"2-2-2": NEURONS["1-1-1"][:3]}
    several = kit.Model(torch.nn.Conv2d(1, 5, 9), neurons, kit.ModelConfig(gain=True))
    drawn = "\n".join(texts(plots.model_drawing(several)))
    assert "gain\n3 → 10 → 7" in drawn and "prediction\n7 neurons\n(first of 2 mice)" in drawn


def test_model_drawing_leaves_out_what_the_model_has_not():
    drawn = "\n".join(texts(plots.model_drawing(model())))
    assert not any(word in drawn for word in ("shifter", "gain", "behaviour", "×\n"))
    assert (
        "+ behaviour\n3 × 36 × 64" in texts(plots.model_drawing(model(behavior_channels=True)))[0]
    )
    with pytest.raises(ValueError, match="model holds a str"):
        plots.model_drawing("cnn")


def test_tiers_drawing_counts_trials_and_images(tmp_path):
    data = kit.load(tiny.write(tmp_path, withholds=("responses",)))
    ax = plots.tiers_drawing(data)
    assert [bar.get_width() for bar in ax.patches] == [40, 12, 11, 7]
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False, False, True, True]
    assert texts(ax)[0] == "40 trials: 40 images, once each"
    assert texts(ax)[2] == "11 trials: 3 images, 3.7 times each\nresponses withheld"
    assert ax.get_yticklabels()[3].get_text() == "final_test\nto decide"
    lines = [line for drawn in ax.collections for line in drawn.get_segments()]
    assert [x for (x, _), _ in lines[:2]] == [4, 8]  # between the images of the test tier
    with pytest.raises(ValueError, match="data holds a str"):
        plots.tiers_drawing("sample+")
    with pytest.raises(
        ValueError, match=r"holds a Recording, which .*; give a Dataset, of kit.load"
    ):
        plots.tiers_drawing(data.mouse)
    with pytest.raises(ValueError, match="holds a dict, which has no neurons"):
        plots.tiers_drawing({"a": data})


@pytest.mark.parametrize("draw", [plots.model_drawing, plots.tiers_drawing])
def test_drawing_on_a_given_axis(draw, ax, tmp_path):
    given = model() if draw is plots.model_drawing else kit.load(tiny.write(tmp_path))
    assert draw(given, ax) is ax
