"""Model cards: what they hold, where they come from, and what is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest
import tiny

import kit
from kit.models.pretrained import SHIPPED

NAMES = sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


@pytest.fixture(scope="module")
def known(folder):
    """A mouse that withholds nothing, and its model."""
    data = kit.load(tiny.write(folder), (18, 32), folder / "known")
    return data, kit.linear_baseline(data, channels=2)


@pytest.mark.parametrize("name", NAMES)
def test_card_of_a_shipped_model_lies_beside_it(name):
    text = kit.card(kit.pretrained(name))
    assert text == (SHIPPED / f"{name}.md").read_text(encoding="utf-8")
    assert "TrainConfig(" in text and "degrees apart" in text and "true rates" in text


def test_card_of_a_changed_model_is_not_the_shipped_one():
    model = kit.pretrained("sample+-ln")
    model.readouts["99002-1-1"].bias.data[0] += 1
    text = kit.card(model)
    assert "Not recorded." in text and "Not measured." in text
    assert text != kit.card(kit.pretrained("sample+-ln"))


def test_card_scores_every_tier_whose_responses_are_known(known):
    data, model = known
    text = kit.card(model, data, "by hand")
    score = kit.score(model, data, "test")
    row = re.search(r"\| 7-1-1 \| test \| this one \| (\S+) \((\S+) to (\S+)\) \| (\S+)", text)
    single, low, high, average = map(float, row.groups())
    assert single == pytest.approx(score.single_trial, abs=6e-4)
    assert average == pytest.approx(score.to_average, abs=6e-4)
    assert low < high
    assert f"best model of the image alone | {score.ceiling:.3f}" in text
    assert text.count("this one") == 3 and "\n    by hand\n" in text


def test_card_leaves_out_what_is_withheld(plus):
    text = kit.card(kit.linear_baseline(plus, channels=2), plus)
    assert "| validation |" in text and "| test |" not in text


def test_card_of_a_shuffled_sample_mouse_does_not_use_its_truth():
    known = kit.load("sample+")
    order = np.random.default_rng(0).permutation(len(known.mouse.tiers))
    arrays = {
        name: getattr(known.mouse, name)[order]
        for name in ("images", "responses", "behavior", "pupil_center", "tiers", "image_ids")
    }
    mouse = replace(known.mouse, **arrays)
    text = kit.card(kit.pretrained("sample+-ln"), kit.Dataset([mouse]))
    assert "true rates" not in text and "| test |" not in text


def test_card_prints_in_a_notebook_and_writes_markdown(known, tmp_path):
    _, model = known
    path = tmp_path / "new" / "card.md"
    card = kit.card(model, path=path)
    assert path.read_text(encoding="utf-8") == card == card._repr_markdown_()


def test_card_refuses_other_files_and_models(known, tmp_path):
    _, model = known
    with pytest.raises(ValueError, match=r"truth.csv is no place for a card; .* ends in .md"):
        kit.card(model, path=tmp_path / "truth.csv")
    with pytest.raises(ValueError, match="model="):
        kit.card("sample+-cnn")
    with pytest.raises(ValueError, match="a Dataset is needed"):
        kit.card(model, "sample+")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"recipe=5 is none; give the kit\.TrainConfig, or a sent"):
        kit.card(model, recipe=5)
    with pytest.raises(
        ValueError, match=r"report_card holds a str, .* one of kit\.lab\.report_card"
    ):
        kit.card(model, report_card="fine")
