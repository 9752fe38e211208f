"""Saved models: they come back the same, and refuse data that they were not trained for."""

import dataclasses
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
def data(plus):
    return plus


@pytest.fixture(scope="module")
def trained(data):
    model = kit.cnn_baseline(data, channels=3)
    kit.train(model, data, kit.TrainConfig(epochs=2, batch_size=16, device="cpu"))
    return model


@pytest.fixture(scope="module")
def file(trained, folder):
    path = folder / "runs" / "mine.safetensors"  # in a folder that does not exist yet
    kit.save(trained, path)
    return path


class Wide(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 5)

    def forward(self, images):
        return self.conv(images).relu()


def assert_same_predictions(model_a, model_b, data, mouse=None):
    predictions = [kit.predict(model, data, "test", mouse) for model in (model_a, model_b)]
    np.testing.assert_array_equal(*predictions)


def test_load_model_predicts_the_same(data, trained, file):
    model = kit.load_model(file)
    assert_same_predictions(model, trained, data)
    assert model.config == trained.config
    assert not model.training
    mouse = data.mouse
    np.testing.assert_array_equal(model.centers(mouse), trained.centers(mouse))
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_load_model_can_be_trained_further(data, file):
    model = kit.load_model(file)
    bias = model.readouts["7-1-1"].bias.detach().clone()
    model.register_data(data)  # registered before: the biases stay
    assert torch.equal(bias, model.readouts["7-1-1"].bias)
    config = kit.TrainConfig(epochs=1, batch_size=16, device="cpu")
    assert np.isfinite(kit.train(model, data, config).loss).all()


@pytest.mark.parametrize("build", [kit.cnn_baseline, kit.linear_baseline])
@pytest.mark.parametrize("behavior, shifter", [(False, False), (True, False), (False, True)])
def test_load_model_restores_settings(data, tmp_path, build, behavior, shifter):
    model = build(data, 2, kit.ModelConfig(behavior, shifter, SIZE, seed=7))
    kit.save(model, tmp_path / "model")
    again = kit.load_model(tmp_path / "model")
    assert again.config == model.config
    assert again.core.settings == model.core.settings
    assert_same_predictions(model, again, data)


def test_load_model_of_several_mice(folder, tmp_path):
    paths = [tiny.write(folder, tiny.arrays(seed, 4 + seed), f"8-{seed}") for seed in (1, 2)]
    data = kit.load(paths, SIZE, folder / "data")
    model = kit.cnn_baseline(data, channels=2)
    model.register_data(data)
    kit.save(model, tmp_path / "model")
    again = kit.load_model(tmp_path / "model")
    assert list(again.readouts) == list(data)
    for mouse in data:
        assert_same_predictions(model, again, data, mouse)


@pytest.mark.parametrize("build", [kit.cnn_baseline, kit.strong_baseline, kit.vit_baseline])
def test_save_and_load_model_leave_all_else_as_it_was(data, tmp_path, build):
    model = build(data).train()
    before = torch.get_rng_state()
    kit.save(model, f"{tmp_path}/model")
    kit.load_model(f"{tmp_path}/model")
    assert model.training
    assert torch.equal(before, torch.get_rng_state())


# ---- other data than the model was trained on ----


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


def test_load_model_takes_a_copy_of_the_recording(file, trained, tmp_path):
    assert_same_predictions(kit.load_model(file), trained, reloaded(tmp_path))


@pytest.mark.parametrize(
    "options, named",
    [
        ({"mouse": "9-9-9"}, "9-9-9"),
        ({"size": (36, 64)}, r"\(36, 64\)"),
        ({"change": other_ids}, "unit_ids"),
        ({"change": other_units}, "responses_std"),
    ],
    ids=["mouse", "size", "ids", "units"],
)
def test_load_model_refuses_other_data(file, tmp_path, options, named):
    model = kit.load_model(file)
    other = reloaded(tmp_path, **options)
    for use in (kit.train, lambda *given: kit.submit(*given, tmp_path / "mine")):
        with pytest.raises(ValueError, match=named):
            use(model, other)
    assert not (tmp_path / "mine").exists()


# ---- files that are not models ----


@pytest.mark.parametrize("name", ["mine", "."], ids=["nothing", "folder"])
def test_load_model_missing_file(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*; give one that kit\.save"):
        kit.load_model(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"{}" * 50, bytes(1000), "half"], ids=repr)
def test_load_model_not_a_model(file, tmp_path, content):
    path = tmp_path / "mine"
    path.write_bytes(file.read_bytes()[:5000] if content == "half" else content)
    with pytest.raises(ValueError, match="mine cannot be read as a model: "):
        kit.load_model(path)


@pytest.mark.parametrize(
    "metadata",
    [None, {"kit": "not json"}, {"kit": "[]"}, {"kit": "{}"}, {"kit": "[" * 9999 + "]" * 9999}],
    ids=["none", "text", "list", "empty", "nested"],
)
def test_load_model_foreign_safetensors(tmp_path, metadata):
    save_file({"weight": torch.ones(3)}, tmp_path / "foreign", metadata)
    with pytest.raises(ValueError, match="foreign cannot be read as a model: "):
        kit.load_model(tmp_path / "foreign")


def rewritten(file, path, change):
    with safe_open(file, "pt") as old:
        header = json.loads(old.metadata()["kit"])
        tensors = {name: old.get_tensor(name) for name in old.keys()}  # noqa: SIM118
    del header["sha256"]  # as files of before the checksum
    change(header, tensors)
    save_file(tensors, path, {"kit": json.dumps(header)})
    return path


def changed(name, value):
    """A change of one part of a file: `name` is a path in its header, with dots."""

    def change(header, tensors):
        *path, last = name.split(".")
        for key in path:
            header = header[key]
        header[last] = value

    return change


def without(name):
    return lambda header, tensors: (header if name in header else tensors).pop(name)


def set_bfloat16(header, tensors):
    name = "data_statistics/7-1-1/responses_std"
    tensors[name] = tensors[name].bfloat16()


def set_nan(header, tensors):
    tensors["model/readouts.7-1-1.bias"][3] = np.nan


def add_tensor(header, tensors):
    tensors["loose"] = torch.zeros(1)


@pytest.mark.parametrize(
    "change, expected",
    [
        (changed("format", 1), "it has format 1, not 2; use the kit that wrote"),
        (changed("format", 99), "it has format 99"),
        (changed("core.settings.channels", 1000), "size mismatch for core.layers.0.0.weight"),
        (changed("core.settings.layers", 10**9), "layers=1000000000 is not possible"),
        (changed("config.image_size", [-18, 32]), r"image_size=\[-18, 32\] is not possible"),
        (set_bfloat16, "unsupported ScalarType BFloat16"),
        (set_nan, "readouts.7-1-1.bias has values that are not finite"),
        (without("core"), "'core'"),
        (without("model/readouts.7-1-1.bias"), "readouts.7-1-1.bias"),
        (without("model/readouts.7-1-1.sigma"), "Missing key.*readouts.7-1-1.sigma"),
        (add_tensor, "not enough values to unpack"),
    ],
)
def test_load_model_damaged_file(file, tmp_path, change, expected):
    path = rewritten(file, tmp_path / "mine", change)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"mine cannot be read as a model: .*{expected}") as e:
            kit.load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("count", [24, 300_000_000])
def test_load_model_without_a_checksum_counts_neurons_by_their_weights(
    file, trained, data, tmp_path, count
):
    path = rewritten(file, tmp_path / "mine", changed("neurons.7-1-1", count))
    assert_same_predictions(kit.load_model(path), trained, data)


@pytest.mark.parametrize("part", ["weights", "header"])
def test_load_model_spoiled_file(file, tmp_path, part):
    content = bytearray(file.read_bytes())
    if part == "weights":
        content[-9] ^= 1  # one bit
    else:
        content = content.replace(b'\\"seed\\": 42', b'\\"seed\\": 43')
    assert content != file.read_bytes()
    (tmp_path / "mine").write_bytes(content)
    with pytest.raises(ValueError, match=r"its content has changed since kit.save wrote it"):
        kit.load_model(tmp_path / "mine")


def test_load_model_keeps_its_weights_when_the_file_changes(file, data, tmp_path):
    path = tmp_path / "best"
    path.write_bytes(file.read_bytes())
    model = kit.load_model(path)
    before = kit.predict(model, data, "test")
    with path.open("r+b") as written:  # in place, as cp does
        written.write(bytes(path.stat().st_size))
    np.testing.assert_array_equal(kit.predict(model, data, "test"), before)
    with path.open("r+b") as written:  # a mapped file would end the process
        written.truncate(100)
    kit.save(model, tmp_path / "again")
    assert_same_predictions(kit.load_model(tmp_path / "again"), model, data)


def test_save_refuses_weights_that_are_not_finite(data, tmp_path):
    model = kit.cnn_baseline(data, channels=2)
    model.readouts["7-1-1"].bias.data[3] = np.inf
    with pytest.raises(ValueError, match="bias has values that are not finite"):
        kit.save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# ---- other cores ----


@pytest.mark.parametrize("core", ["ConvCore", kit.layers.ConvCore], ids=["description", "class"])
def test_load_model_core_is_not_a_module(file, core):
    with pytest.raises(ValueError, match=r"core=.* is not possible; give a Module or None"):
        kit.load_model(file, core=core)


def test_load_model_with_own_core(data, tmp_path):
    model = kit.Model(Wide(), data.neurons, kit.ModelConfig(image_size=SIZE))
    kit.save(model, tmp_path / "model")
    with pytest.raises(
        ValueError, match=r"core is your class Wide; .* kit.load_model\(path, core="
    ):
        kit.load_model(tmp_path / "model")
    core = Wide()
    again = kit.load_model(tmp_path / "model", core=core)
    assert again.core is core
    assert_same_predictions(model, again, data)
    with pytest.raises(ValueError, match=r"size mismatch for core.conv.weight"):
        kit.load_model(tmp_path / "model", core=Wide(channels=5))
    with pytest.raises(ValueError, match=r"Missing key.*core.layers"):
        kit.load_model(tmp_path / "model", core=kit.layers.ConvCore(3))


@pytest.mark.parametrize("change", [set_nan, without("model/readouts.7-1-1.sigma"), add_tensor,
                                    without("description")])  # fmt: skip
def test_load_model_that_fails_leaves_own_core_as_it_was(data, tmp_path, change):
    kit.save(kit.Model(Wide(), data.neurons, kit.ModelConfig(image_size=SIZE)), tmp_path / "model")
    core = Wide()
    weight = core.conv.weight.clone()
    with pytest.raises(ValueError, match="mine cannot be read as a model"):
        kit.load_model(rewritten(tmp_path / "model", tmp_path / "mine", change), core=core)
    assert torch.equal(core.conv.weight, weight)
    assert core.training


def test_save_own_core_with_any_settings(data, tmp_path):
    core = Wide()
    core.settings = {"activation": torch.relu}  # not for a file
    model = kit.Model(core, data.neurons, kit.ModelConfig(image_size=SIZE, seed=np.int64(1)))
    kit.save(model, tmp_path / "model")
    assert_same_predictions(model, kit.load_model(tmp_path / "model", core=Wide()), data)


def test_save_core_with_a_shared_weight(data, tmp_path):
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
    assert_same_predictions(model, kit.load_model(tmp_path / "model", core=Twice()), data)


# ---- whole or not at all ----


def test_save_that_fails_leaves_the_old_file(trained, tmp_path, monkeypatch):
    path = tmp_path / "mine"
    kit.save(trained, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "The attic is full")

    monkeypatch.setattr(kit.models.checkpoints, "to_bytes", full)
    with pytest.raises(OSError, match="mine cannot be written: the attic is full"):
        kit.save(trained, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_save_writes_what_load_model_reads_in_any_precision(data, tmp_path, dtype):
    model = kit.cnn_baseline(data, channels=2).to(dtype)
    kit.save(model, tmp_path / "model")
    loaded = kit.load_model(tmp_path / "model")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, check_dtype=False)


# ---- neurons without places ----


def nowhere(data):
    """The same mice without coordinates."""
    mice = [
        dataclasses.replace(mouse, coordinates=np.zeros_like(mouse.coordinates))
        for mouse in data.values()
    ]
    return kit.Dataset(mice)


@pytest.mark.parametrize("own", [False, True], ids=["the kit's core", "an own core"])
def test_load_model_with_free_positions(data, tmp_path, own):
    data, path = nowhere(data), tmp_path / "free.safetensors"
    model = kit.cnn_baseline(data, channels=2)
    if own:
        model = kit.Model(Wide(), data.neurons, kit.ModelConfig(image_size=SIZE))
    kit.train(model, data, kit.TrainConfig(epochs=1, device="cpu"))
    free = model.readouts["7-1-1"].free_positions
    assert free.abs().min() > 0  # training has moved all
    kit.save(model, path)
    again = kit.load_model(path, Wide() if own else None)
    assert torch.equal(again.readouts["7-1-1"].free_positions, free)
    batch = data.mouse.first("validation", 4)
    with torch.no_grad():
        assert torch.equal(again(batch), model.eval()(batch))
    again.validate_data(data)


def test_load_model_with_places_has_no_free_positions(file):
    readout = kit.load_model(file).readouts["7-1-1"]
    assert readout.free_positions is None and readout.cortical_positions.any()
