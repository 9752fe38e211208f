"""A model as a page: its numbers, its controls, what is refused. A browser runs it elsewhere."""

import base64
import json

import numpy as np
import pytest
import tiny
import torch
from html_page import Page, assert_loads_nothing

import kit
from kit.lab.controls import controls
from kit.lab.experiment import Subject
from kit.lab.twin_page import colour_top
from kit.pages.twin import parameters

HOSTILE = "</script><img src=x onerror=alert(1)>"
ALL = {"behavior_channels": True, "shifter": True, "gain": True, "minmax_behavior": True}


@pytest.fixture
def page(tmp_path):
    """A function from a model to its page, taken apart."""

    def parse(model, mouse=None):
        path = kit.lab.page(model, tmp_path / "twin.html", mouse)
        return Page(path.read_text(encoding="utf-8"))

    return parse


def test_page_holds_the_parameters_as_float32(page):
    model = tiny.twin(**ALL)
    ((_, text),) = page(model).find("script", id="twin")
    held, expected = json.loads(text), parameters(model, "7-1-1")

    def compare(held, expected):
        if isinstance(expected, dict):
            for key in expected:
                compare(held[key], expected[key])
        elif isinstance(expected, list):
            for parts in zip(held, expected, strict=True):
                compare(*parts)
        elif isinstance(expected, np.ndarray):
            numbers = np.frombuffer(base64.b64decode(held["float32"]), "<f4")
            np.testing.assert_array_equal(numbers, expected.ravel().astype(np.float32))
        else:
            assert held == expected

    compare(held, expected)
    assert held["size"] == [19, 32] and held["shape"] == [5, 11, 24]


def test_page_of_a_sample_mouse_is_small(tmp_path):
    path = kit.lab.page(kit.pretrained("sample+-cnn"), str(tmp_path / "new" / "twin.html"))
    assert path == tmp_path / "new" / "twin.html"
    assert path.stat().st_size < 200_000


@pytest.mark.parametrize("name", ["sample+-cnn", "sample-cnn"])
def test_page_has_the_controls_of_the_model(page, name):
    model = kit.pretrained(name)
    found = page(model)
    sliders = found.find("input", type="range")
    named = {attributes["for"]: text for attributes, text in found.find("label")}
    wanted = controls(model)
    assert [attributes["name"] for attributes, _ in sliders] == [each.name for each in wanted]
    for (slider, _), control in zip(sliders, wanted, strict=True):
        limits = [float(slider[key]) for key in ("min", "max", "step", "value")]
        assert limits == [control.low, control.high, control.step, control.start]
        assert named[slider["id"]] == f"{control.label} ({control.unit})"
        assert found.find("output", **{"for": slider["id"]})
    legends = [text for _, text in found.find("legend")]
    assert ("State of the animal" in legends) == (name == "sample+-cnn")


def test_page_says_which_model_it_is(page):
    model = kit.pretrained("sample+-cnn")
    found = page(model)
    assert [text for _, text in found.find("h1")] == ["Model of mouse 99002-1-1"]
    assert [text for _, text in found.find("li")] == repr(model).splitlines()
    assert any("allow it JavaScript" in text for _, text in found.find("noscript"))


def test_page_escapes_what_comes_from_the_model(page):
    model = tiny.twin(mice=[HOSTILE])
    model.description = f"{HOSTILE}\n{{{{ 7 * 7 }}}} \u202ea"
    found = page(model)
    assert not found.find("img") and len(found.find("script")) == 2
    assert not [a for _, a, _ in found.elements if any(key.startswith("on") for key in a)]
    assert found.find("h1")[0][1] == f"Model of mouse {HOSTILE}"
    assert [text for _, text in found.find("li")][-2:] == [HOSTILE, "{{ 7 * 7 }} ?a"]


def test_page_loads_nothing(page):
    assert_loads_nothing(page(tiny.twin(**ALL)))


def test_page_of_one_of_two_mice(page):
    model = tiny.twin(mice=["7-1-1", "8-1-1"])
    assert page(model, "8-1-1").find("h1")[0][1] == "Model of mouse 8-1-1"
    for mouse in (None, "9"):
        with pytest.raises(ValueError, match=r"no readout for mouse .* it knows 7-1-1, 8-1-1"):
            page(model, mouse)
    with pytest.raises(ValueError, match="mouse=8 is not possible; give a text"):
        page(model, 8)


class OtherModel(kit.Model):
    pass


class OtherCore(kit.layers.ConvCore):
    pass


PLACES = {"7-1-1": np.eye(2)}


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (kit.ensemble([tiny.twin(), tiny.twin()]), "this Ensemble; "),
        (kit.Model(torch.nn.Conv2d(1, 2, 9), PLACES), "this Model; "),
        (kit.Model(OtherCore(2), PLACES), "this Model; "),
        (OtherModel(kit.layers.ConvCore(2), PLACES), "this OtherModel; "),
        (tiny.twin().state_dict(), "this OrderedDict; "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_page_refuses_what_it_cannot_compute(model, named, tmp_path):
    with pytest.raises(ValueError, match=r"a page cannot compute this .*; give a kit.Mod") as said:
        kit.lab.page(model, tmp_path / "twin.html")
    assert named in str(said.value)
    assert not list(tmp_path.iterdir())


def test_page_refuses_predictions_that_are_not_finite(tmp_path):
    model = tiny.twin()
    model.readouts["7-1-1"].bias.data[3] = torch.nan
    with pytest.raises(ValueError, match="are not finite numbers; train it again"):
        kit.lab.page(model, tmp_path / "twin.html")


@pytest.mark.parametrize(("bias", "top"), [(2.2, 3.5), (2, 3), (-10, 0.5)])
def test_colour_top_is_a_half_step_above_the_responses(bias, top):
    model = tiny.twin()
    readout = model.readouts["7-1-1"]
    readout.feature_weights.data.zero_()
    readout.bias.data.fill_(bias)  # every response is elu(bias) + 1
    assert colour_top(Subject(model)) == top


def test_page_leaves_the_model_as_it_was(page):
    model = tiny.twin(**ALL).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    page(model)
    assert model.training and model.core.layers[0][1].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_page_of_other_columns_has_those_of_its_state(page, plus):
    """Running has its weights; what else the model takes is typical, and part of the bias."""
    data = tiny.with_columns(plus, "licks", "running", eye=False)
    model = kit.cnn_baseline(data, 2, kit.ModelConfig.of(data, gain=True, minmax_behavior=True))
    model.register_data(data)
    model.eval()
    mlp, scaler = model.gains["7-1-1"].mlp, model.scalers["7-1-1"]
    licks = model.typical_behavior()["licks"]
    values = parameters(model, "7-1-1")
    for running in (0.0, 2.0):
        state = np.array([4, 1, running])  # pupil and its change are none of the model's inputs
        with torch.no_grad():
            hidden = mlp[0](scaler(torch.tensor([[licks, running]])))[0].numpy()
            images = torch.zeros(1, 3, 18, 32)
            images[:, 1:] = scaler(torch.tensor([[licks, running]]))[..., None, None]
            first = model.core.layers[0][1](model.core.layers[0][0](images))[0, :, 0, 0].numpy()
        for part, expected in ((values["gain"][0], hidden), (values["behavior"], first)):
            np.testing.assert_allclose(part["weight"] @ state + part["bias"], expected, atol=1e-5)
    sliders = page(model).find("input", type="range")
    assert "running" in [attributes["name"] for attributes, _ in sliders]
