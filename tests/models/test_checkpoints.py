"""Saved models: they come back the same, and refuse what they were not made for."""

import errno
import json
import tracemalloc

import numpy as np
import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import kit

SIZE = (18, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def data(folder):
    return kit.load(tiny.write(folder, withholds=["responses"]), SIZE, folder / "data")


@pytest.fixture(scope="module")
def trained(data):
    model = kit.cnn_baseline(data, channels=3)
    kit.train(model, data, kit.TrainConfig(epochs=2, batch_size=16, device="cpu"))
    return model


@pytest.fixture(scope="module")
def file(trained, folder):
    path = folder / "runs" / "mine.safetensors"  # a folder that is not there yet
    kit.save(trained, path)
    return path


class Wide(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 5)

    def forward(self, images):
        return self.conv(images).relu()


def test_a_model_that_comes_back_predicts_the_same(data, trained, file):
    model = kit.load_model(file)
    for tier in ("validation", "test"):
        one, other = kit.predict(trained, data, tier), kit.predict(model, data, tier)
        np.testing.assert_array_equal(one, other)
    assert model.config == trained.config
    assert not model.training
    mouse = data.mouse
    np.testing.assert_array_equal(model.centers(mouse), trained.centers(mouse))
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_a_path_may_be_text(trained, data, tmp_path):
    kit.save(trained, f"{tmp_path}/mine.safetensors")
    model = kit.load_model(f"{tmp_path}/mine.safetensors")
    assert kit.predict(model, data, "test").shape == (11, 24)


def test_training_goes_on_after_loading(data, file):
    model = kit.load_model(file)
    bias = model.readouts["7-1-1"].bias.detach().clone()
    model.register_data(data)  # has met it before: the biases stay
    assert torch.equal(bias, model.readouts["7-1-1"].bias)
    config = kit.TrainConfig(epochs=1, batch_size=16, device="cpu")
    assert np.isfinite(kit.train(model, data, config).loss).all()


@pytest.mark.parametrize("build", [kit.cnn_baseline, kit.linear_baseline])
@pytest.mark.parametrize("behavior, shifter", [(False, False), (True, False), (False, True)])
def test_every_setting_comes_back(data, tmp_path, build, behavior, shifter):
    model = build(data, 2, kit.ModelConfig(behavior, shifter, SIZE, seed=7))
    kit.save(model, tmp_path / "model")
    again = kit.load_model(tmp_path / "model")
    assert again.config == model.config
    assert again.core.settings == model.core.settings
    np.testing.assert_array_equal(
        kit.predict(model, data, "test"), kit.predict(again, data, "test")
    )


def test_a_model_of_several_mice(folder, tmp_path):
    paths = [
        tiny.write(tmp_path, tiny.arrays(s, n), m) for s, n, m in ((1, 9, "8-1"), (2, 5, "8-2"))
    ]
    data = kit.load(paths, SIZE, tmp_path / "data")
    model = kit.cnn_baseline(data, channels=2)
    model.register_data(data)
    kit.save(model, tmp_path / "model")
    again = kit.load_model(tmp_path / "model")
    assert list(again.readouts) == ["8-1", "8-2"]
    for mouse in data:
        np.testing.assert_array_equal(
            kit.predict(model, data, "test", mouse), kit.predict(again, data, "test", mouse)
        )


def test_saving_and_loading_leave_the_global_random_state_alone(trained, file, tmp_path):
    torch.manual_seed(4)
    before = torch.get_rng_state()
    kit.save(trained, tmp_path / "model")
    assert torch.equal(before, torch.get_rng_state())
    kit.load_model(file)
    assert torch.equal(before, torch.get_rng_state())


def test_saving_leaves_the_model_as_it_was(trained, tmp_path):
    trained.train()
    kit.save(trained, tmp_path / "model")
    assert trained.training
    trained.eval()


# ---- what it was not made for ----


def reloaded(tmp_path, change=None, mouse="7-1-1", size=SIZE):
    arrays = tiny.arrays()
    if change:
        change(arrays)
    path = tiny.write(tmp_path, arrays, mouse, ["responses"])
    return kit.load(path, size, tmp_path / "data")


def other_ids(arrays):
    arrays["unit_ids"] = arrays["unit_ids"] + 1


def other_units(arrays):
    arrays["responses"] = arrays["responses"] * 10


def test_the_same_recording_at_another_place_is_taken(file, tmp_path):
    assert kit.predict(kit.load_model(file), reloaded(tmp_path), "test").shape == (11, 24)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"mouse": "9-9-9"}, "no readout for mouse '9-9-9'; it knows 7-1-1"),
        ({"size": (36, 64)}, r"takes \(18, 32\) images, the data are \(36, 64\)"),
        ({"change": other_ids}, r"trained with unit_ids \[\d+, .* the recording has \[\d+"),
        ({"change": other_units}, r"trained with responses_std \[.* the recording has \["),
    ],
    ids=["mouse", "size", "ids", "units"],
)
def test_other_data_are_refused(file, tmp_path, options, said):
    model = kit.load_model(file)
    other = reloaded(tmp_path, **options)
    for call in (
        lambda: kit.predict(model, other, "test"),
        lambda: kit.score(model, other, "validation"),
        lambda: kit.submit(model, other, tmp_path / "mine"),
        lambda: kit.train(model, other),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    assert not (tmp_path / "mine").exists()


# ---- files that are none ----


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*mine; kit\.save writes one"):
        kit.load_model(tmp_path / "mine")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"{}" * 50, bytes(1000), "half"])
def test_what_is_no_model(file, tmp_path, content):
    path = tmp_path / "mine"
    path.write_bytes(file.read_bytes()[:5000] if content == "half" else content)
    with pytest.raises(ValueError, match=r"mine is not a model that kit\.save wrote"):
        kit.load_model(path)


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(ValueError, match=r"is not a model that kit\.save wrote"):
        kit.load_model(tmp_path)


def rewritten(file, path, change):
    with safe_open(file, "pt") as old:
        about = json.loads(old.metadata()["kit"])
        tensors = {name: old.get_tensor(name) for name in old.keys()}  # noqa: SIM118
    change(about, tensors)
    save_file(tensors, path, {"kit": json.dumps(about)})
    return path


def set_neurons(about, tensors):
    about["neurons"]["7-1-1"] = 300_000_000


def set_channels(about, tensors):
    about["core"]["settings"]["channels"] = 20_000


def set_bfloat16(about, tensors):
    tensors["data_statistics/7-1-1/responses_std"] = tensors[
        "data_statistics/7-1-1/responses_std"
    ].bfloat16()


def drop_core(about, tensors):
    del about["core"]


def drop_bias(about, tensors):
    del tensors["model/readouts.7-1-1.bias"]


@pytest.mark.parametrize(
    "change, said",
    [
        (set_neurons, "mouse 7-1-1 has 300000000 neurons, and there are weights of 24"),
        (set_channels, "do not fit the core ConvCore"),
        (set_bfloat16, "is damaged or was changed by hand"),
        (drop_core, "is damaged or was changed by hand"),
        (drop_bias, "do not fit what it says: mouse 7-1-1 has 24 neurons"),
    ],
)
def test_a_file_that_claims_what_it_has_not_is_refused_before_memory_is_taken(
    file, tmp_path, change, said
):
    path = rewritten(file, tmp_path / "mine", change)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=said):
            kit.load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_a_tensor_of_an_unknown_name_is_refused_or_harmless(file, tmp_path):
    def rename(about, tensors):
        tensors["loose"] = torch.zeros(1)

    with pytest.raises(ValueError, match="is damaged or was changed by hand"):
        kit.load_model(rewritten(file, tmp_path / "mine", rename))


@pytest.mark.parametrize("core", ["ConvCore", kit.layers.ConvCore], ids=["description", "class"])
def test_a_core_that_is_no_module_is_refused(file, core):
    with pytest.raises(ValueError, match="is not a module; build one"):
        kit.load_model(file, core=core)


def test_another_format_is_refused(file, tmp_path):
    newer = rewritten(file, tmp_path / "newer", lambda about, _: about.update(format=99))
    with pytest.raises(ValueError, match="has model format 99, this kit reads 2"):
        kit.load_model(newer)
    save_file({"weight": torch.ones(3)}, tmp_path / "foreign")
    with pytest.raises(ValueError, match=r"foreign (has model format None|is not a model)"):
        kit.load_model(tmp_path / "foreign")
    save_file({"weight": torch.ones(3)}, tmp_path / "strange", {"kit": "not json"})
    with pytest.raises(ValueError, match="strange"):
        kit.load_model(tmp_path / "strange")


def test_weights_that_do_not_fit_are_refused(file, tmp_path):
    lacking = rewritten(file, tmp_path / "lacking", lambda _, t: t.pop("model/readouts.7-1-1.bias"))
    with pytest.raises(ValueError, match=r"weights in .*lacking do not fit") as caught:
        kit.load_model(lacking)
    assert "\n" not in str(caught.value)


# ---- other cores ----


def test_a_core_of_ones_own_is_given_back(data, tmp_path):
    model = kit.Model(Wide(), data.neurons, kit.ModelConfig(image_size=SIZE))
    kit.save(model, tmp_path / "model")
    with pytest.raises(ValueError, match=r"core of class Wide, .* kit.load_model\(path, core="):
        kit.load_model(tmp_path / "model")
    again = kit.load_model(tmp_path / "model", core=Wide())
    np.testing.assert_array_equal(
        kit.predict(model, data, "test"), kit.predict(again, data, "test")
    )
    with pytest.raises(ValueError, match="do not fit the core Wide"):
        kit.load_model(tmp_path / "model", core=Wide(channels=5))
    with pytest.raises(ValueError, match="do not fit the core ConvCore"):
        kit.load_model(tmp_path / "model", core=kit.layers.ConvCore(3))


def test_a_core_that_uses_a_weight_twice_can_be_saved(data, tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(1, 1, 3)
            self.second = nn.Conv2d(1, 1, 3)
            self.second.weight = self.first.weight

        def forward(self, images):
            return self.second(self.first(images))

    model = kit.Model(Twice(), data.neurons, kit.ModelConfig(image_size=SIZE))
    kit.save(model, tmp_path / "model")
    again = kit.load_model(tmp_path / "model", core=Twice())
    np.testing.assert_array_equal(
        kit.predict(model, data, "test"), kit.predict(again, data, "test")
    )


# ---- whole or not at all ----


def test_a_save_that_fails_leaves_the_old_file(trained, tmp_path, monkeypatch):
    path = tmp_path / "mine"
    kit.save(trained, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "The attic is full")

    monkeypatch.setattr(kit.models.checkpoints, "to_bytes", full)
    with pytest.raises(OSError, match="mine cannot be written: the attic is full; make room"):
        kit.save(trained, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_save_replaces_an_older_file(data, trained, tmp_path):
    path = tmp_path / "mine"
    path.write_text("older")
    kit.save(trained, path)
    assert kit.predict(kit.load_model(path), data, "test").shape == (11, 24)


def test_a_save_onto_a_folder_is_refused(trained, tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(OSError, match="runs"):
        kit.save(trained, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []
