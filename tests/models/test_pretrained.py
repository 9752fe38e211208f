"""Trained models: the published ones of 2022, and those of the sample mice.

The published files may not be committed. Small checkpoints with the same tensor names replace
them, and are compared with the model of 2022, written out in functions here.
"""

import dataclasses
import hashlib
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d, elu, grid_sample, linear

import kit
from kit.data.sources import catalog
from kit.models.pretrained import SHIPPED

NAMES = list(catalog.WEIGHTS)
SAMPLES = ["sample+-cnn", "sample+-ln", "sample+-strong", "sample-cnn", "sample-ln",
           "sample-pretrain-cnn", "sample-pretrain-strong", "sample-strong"]  # fmt: skip
NEURONS = 11


# ---- a checkpoint of 2022, and what it predicts, without the kit ----


def checkpoint(name):
    """Random tensors under the names of 2022, for one of the published models."""
    entry, generator = catalog.WEIGHTS[name], torch.Generator().manual_seed(3)

    def random(*shape, scale=1.0):
        return scale * torch.randn(*shape, generator=generator)

    state = {"core._input_weights_regularizer.laplace.filter": random(1, 1, 3, 3)}
    for i in range(3 if name.endswith("ln") else 4):
        layer = f"core.features.layer{i}"
        if i == 0:
            state[f"{layer}.conv.weight"] = random(64, 4 if "+" in name else 1, 9, 9, scale=0.1)
        else:
            state[f"{layer}.ds_conv.in_depth_conv.weight"] = random(64, 64, 1, 1, scale=0.1)
            state[f"{layer}.ds_conv.spatial_conv.weight"] = random(64, 1, 7, 7, scale=0.1)
            state[f"{layer}.ds_conv.out_depth_conv.weight"] = random(64, 64, 1, 1, scale=0.1)
        state[f"{layer}.norm.weight"] = 1 + random(64, scale=0.1)
        state[f"{layer}.norm.bias"] = random(64, scale=0.1)
        state[f"{layer}.norm.running_mean"] = random(64, scale=0.1)
        state[f"{layer}.norm.running_var"] = 1 + random(64).abs()
        state[f"{layer}.norm.num_batches_tracked"] = torch.tensor(7)
    readout, shifter = f"readout.{entry.mouse}", f"shifter.{entry.mouse}.mlp"
    state[f"{readout}.sigma"] = random(1, NEURONS, 2, 2)
    state[f"{readout}._features"] = random(1, 64, 1, NEURONS, scale=0.1)
    state[f"{readout}.bias"] = random(NEURONS)
    state[f"{readout}.source_grid"] = random(NEURONS, 2)  # not centred: it is not changed
    for i, (outputs, inputs) in {0: (30, 2), 2: (2, 30)}.items():
        state[f"{readout}.mu_transform.{i}.weight"] = random(outputs, inputs, scale=0.5)
        state[f"{readout}.mu_transform.{i}.bias"] = random(outputs)
    for i, (outputs, inputs) in {0: (5, 2), 2: (5, 5), 4: (2, 5)}.items() if "+" in name else ():
        state[f"{shifter}.{i}.weight"] = random(outputs, inputs, scale=0.5)
        state[f"{shifter}.{i}.bias"] = random(outputs, scale=0.2)
    return state


def predictions_of_2022(state, name, batch):
    """What Willeke et al. (2022) compute from these tensors. Returns (B, N)."""
    x = batch.images
    if "+" in name:
        tiled = batch.behavior[:, :, None, None] * torch.ones_like(x)
        x = torch.cat([x, tiled], 1)  # (B, 4, H, W)
    for i in range(3 if name.endswith("ln") else 4):
        layer = f"core.features.layer{i}."
        if i == 0:
            x = conv2d(x, state[layer + "conv.weight"])
        else:
            x = conv2d(x, state[layer + "ds_conv.in_depth_conv.weight"])
            x = conv2d(x, state[layer + "ds_conv.spatial_conv.weight"], padding=3, groups=64)
            x = conv2d(x, state[layer + "ds_conv.out_depth_conv.weight"])
        norm = ("running_mean", "running_var", "weight", "bias")
        x = batch_norm(x, *(state[f"{layer}norm.{part}"] for part in norm))
        x = x if name.endswith("ln") else elu(x)
    (readout,) = {key.rpartition(".")[0] for key in state if key.endswith("source_grid")}
    mlp = readout.replace("readout", "shifter") + ".mlp."

    def layer(x, key):
        return linear(x, state[key + ".weight"], state[key + ".bias"])

    hidden = elu(layer(state[f"{readout}.source_grid"], f"{readout}.mu_transform.0"))
    grid = torch.tanh(layer(hidden, f"{readout}.mu_transform.2")).expand(len(x), -1, -1)
    if "+" in name:
        shift = batch.pupil_center
        for i in (0, 2, 4):
            shift = torch.tanh(layer(shift, f"{mlp}{i}"))
        grid = grid + shift[:, None]
    seen = grid_sample(x, grid[:, :, None], align_corners=True)[..., 0]  # (B, 64, N)
    weighed = (seen * state[f"{readout}._features"][0, :, 0]).sum(1)
    return elu(weighed + state[f"{readout}.bias"]) + 1


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Write bytes or tensors as the published file, whose SHA-256 is then expected."""

    def write(name, content):
        path = tmp_path / catalog.WEIGHTS[name].file
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        entry = dataclasses.replace(catalog.WEIGHTS[name], sha256=sha256)
        monkeypatch.setitem(catalog.WEIGHTS, name, entry)
        return path

    return write


@pytest.fixture
def images():
    return torch.randn(5, 1, 36, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_pretrained_uses_every_tensor_of_2022(name, publish, images):
    state = checkpoint(name)
    model = kit.pretrained(name, publish(name, state))
    batch = kit.Batch.typical(images)
    batch = batch._replace(pupil_center=torch.linspace(-1, 1, 10).reshape(5, 2))
    with torch.no_grad():
        ours, theirs = model(batch), predictions_of_2022(state, name, batch)
    assert theirs.std() > 0.3
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    mouse = catalog.WEIGHTS[name].mouse
    assert torch.equal(
        model.readouts[mouse].cortical_positions, state[f"readout.{mouse}.source_grid"]
    )
    assert torch.equal(model.readouts[mouse].sigma.detach(), state[f"readout.{mouse}.sigma"][0])
    assert not model.training


def test_pretrained_published_can_be_saved(publish, images, tmp_path):
    before = torch.get_rng_state()
    model = kit.pretrained(
        "sensorium+-cnn", publish("sensorium+-cnn", checkpoint("sensorium+-cnn"))
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.requires_grad for parameter in model.parameters())
    kit.save(model, tmp_path / "model")
    batch = kit.Batch.typical(images)
    assert torch.equal(kit.load_model(tmp_path / "model")(batch), model(batch))


@pytest.mark.parametrize("name", ["sensorium-cnn", "sensorium-ln"])
def test_pretrained_predicts_as_the_2022_library(name, shared):
    path = shared / "published" / catalog.WEIGHTS[name].file
    assert path.stat().st_size == catalog.WEIGHTS[name].bytes
    model = kit.pretrained(name, path)
    with np.load(path.with_name(f"{path.stem}_expected.npz")) as expected:
        images, theirs = expected["images"], expected["predictions"]
    with torch.no_grad():
        ours = model(kit.Batch.typical(images)).numpy()
    assert theirs.max() > 3
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


# ---- what is refused ----


class Code:
    """Touches a file when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_pretrained_other_file_is_not_opened(tmp_path):
    path = tmp_path / "mine.pth"
    torch.save({"core": Code(tmp_path / "trace")}, path)
    expected = r"mine\.pth is not the published file of sensorium-cnn, by its SHA-256; remove it"
    with pytest.raises(ValueError, match=expected):
        kit.pretrained("sensorium-cnn", path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("old", [False, True], ids=["zip", "pickle"])
def test_pretrained_executes_nothing_even_with_the_right_hash(old, publish, tmp_path):
    code = Code(tmp_path / "trace")
    path = publish("sensorium-ln", pickle.dumps(code, 2) if old else {"core": code})
    with pytest.raises(pickle.UnpicklingError):
        kit.pretrained("sensorium-ln", path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "name, expected",
    [
        ("sensorium+cnn", "no trained model 'sensorium.cnn'; did you mean 'sensorium.-cnn' or"),
        ("Sample-LN", "did you mean 'sample-"),
        ("zzz", "no trained model 'zzz'; names are sensorium-cnn, .*, and those in kit/weights"),
        (None, "no trained model 'None'"),
    ],
)
def test_pretrained_unknown_name(name, expected):
    with pytest.raises(ValueError, match=expected):
        kit.pretrained(name)


def test_pretrained_path_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        kit.pretrained("sensorium-cnn", tmp_path / "none.pth")


def test_pretrained_path_of_a_shipped_model(tmp_path):
    with pytest.raises(ValueError, match=r"path=.* is not possible; give None"):
        kit.pretrained("sample-cnn", tmp_path)


# ---- the download ----


def test_pretrained_downloads_once(publish, tmp_path, monkeypatch):
    stick = publish("sensorium+-ln", checkpoint("sensorium+-ln")).parent
    monkeypatch.setenv("KIT_MIRROR", str(stick))
    kit.pretrained("sensorium+-ln", folder=tmp_path / "data")
    monkeypatch.delenv("KIT_MIRROR")  # and KIT_OFFLINE is set
    kit.pretrained("sensorium+-ln", folder=tmp_path / "data")
    file = tmp_path / "data" / "weights" / "sensorium_p_ln_model.pth"
    assert [path for path in file.parent.iterdir() if path.suffix != ".lock"] == [file]
    file.write_bytes(b"PK damaged")
    with pytest.raises(ValueError, match="is not the published file of sensorium"):
        kit.pretrained("sensorium+-ln", folder=tmp_path / "data")


def test_pretrained_offline(tmp_path):
    with pytest.raises(ConnectionError, match="KIT_OFFLINE") as caught:
        kit.pretrained("sensorium+-cnn", folder=tmp_path)
    sentence = str(caught.value)
    assert sentence.startswith("model sensorium+-cnn could not be ")
    assert "pretrained/sensorium_p_sota_model.pth (2.4 MB)" in sentence
    assert 'kit.pretrained("sample+-cnn")' in sentence
    assert kit.pretrained("sample+-cnn")


# ---- your own images ----


@pytest.mark.parametrize("shape", [(3, 1, 36, 64), (3, 36, 64)])
@pytest.mark.parametrize("kind", ["float32", "float64", "tensor"])
def test_typical_state(shape, kind):
    images = np.random.default_rng(0).standard_normal(shape)
    batch = kit.Batch.typical(torch.from_numpy(images) if kind == "tensor" else images.astype(kind))
    assert batch.images.shape == (3, 1, 36, 64) and batch.images.dtype == torch.float32
    np.testing.assert_allclose(batch.images[2, 0], images[2].squeeze(), rtol=1e-6)
    assert batch.behavior.tolist() == [[4, 0, 0.5]] * 3
    assert batch.pupil_center.tolist() == [[0, 0]] * 3
    assert batch.responses is None


def test_typical_view_of_a_recording(plus):
    images = plus.mouse.images[:4, 0, ::-1]  # read-only, upside down
    np.testing.assert_array_equal(kit.Batch.typical(images).images[:, 0], images)


def test_typical_impossible_images():
    with pytest.raises(ValueError, match=r"shape \(36, 64\) are not .*; give one image as images"):
        kit.Batch.typical(np.zeros((36, 64)))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 36, 64\) are not"):
        kit.Batch.typical(np.zeros((2, 3, 36, 64)))
    with pytest.raises(ValueError, match=r"images of torch.uint8 are not z-scored; .* 113.5"):
        kit.Batch.typical(np.zeros((2, 36, 64), np.uint8))


def test_pretrained_predicts_for_images_alone(images):
    model = kit.pretrained("sample+-cnn")
    images.requires_grad_()
    predictions = model(kit.Batch.typical(images))
    assert predictions.shape == (5, 600)
    predictions.sum().backward()  # as for most exciting images
    assert images.grad.abs().sum() > 0
    with pytest.raises(ValueError, match=r"kit.Batch.typical\(images\)"):
        model(kit.Batch(images))


# ---- the print of a model ----


def test_pretrained_description(publish):
    path = publish("sensorium+-cnn", checkpoint("sensorium+-cnn"))
    assert str(kit.pretrained("sensorium+-cnn", path)) == (
        "CNN of 4 convolutional layers: images 36 x 64 -> 64 channels 28 x 56\n"
        "predicts mouse 27204-5-13 (11 neurons)\n"
        "takes images, behaviour and eye position (kit.Batch.typical gives images a usual state)\n"
        "baseline of the Sensorium+ track, trained in 2022 on the recording 27204-5-13\n"
        "published single-trial / to average / FEVE: live 0.374 / 0.571 / –, "
        "final 0.384 / 0.578 / –\n"
        "Willeke et al., arXiv 2206.08666; weights: MIT licence, https://github.com/sinzlab/sensorium"
    )


@pytest.mark.parametrize("name", [*NAMES, *SAMPLES])
def test_pretrained_repr_is_short(name, publish):
    path = publish(name, checkpoint(name)) if name in NAMES else None
    lines = str(kit.pretrained(name, path)).splitlines()
    assert 3 <= len(lines) <= 6
    assert max(map(len, lines)) <= 100
    assert ("linear-nonlinear" in lines[0]) == name.endswith("ln")
    assert ("behaviour" in lines[2]) == ("+" in name or "pretrain" in name)


def test_description_is_saved_and_marked_by_further_training(plus, tmp_path):
    model = kit.linear_baseline(plus, channels=2)
    assert "not trained yet" in str(model)
    model.description = "made on a rainy day"
    kit.save(model, tmp_path / "model")
    assert str(kit.load_model(tmp_path / "model")) == str(model)
    assert str(model).endswith("made on a rainy day")
    config = kit.TrainConfig(epochs=1, batch_size=16, device="cpu")
    kit.train(model, plus, config)
    kit.train(model, plus, config)
    kit.save(model, tmp_path / "model")
    assert str(kit.load_model(tmp_path / "model")).splitlines()[1:] == [
        "predicts mouse 7-1-1 (24 neurons)",
        "takes images, behaviour and eye position (kit.Batch.typical gives images a usual state)",
        "trained on the recording of mouse 7-1-1",
        "trained further since; what it was before:",
        "made on a rainy day",
    ]


def test_register_data_keeps_trained_biases(plus):
    model = kit.linear_baseline(plus, channels=2)
    with torch.no_grad():
        model.readouts["7-1-1"].bias.fill_(0.3)  # as a published model has its own
    model.register_data(plus)
    assert (model.readouts["7-1-1"].bias == 0.3).all()
    assert "7-1-1" in model.data_statistics


def test_repr_names_own_core():
    class Wide(nn.Conv2d):
        pass

    model = kit.Model(Wide(1, 3, 5), {"a": np.eye(2), "b": np.eye(3)},
                      kit.ModelConfig(image_size=(18, 32)))  # fmt: skip
    assert repr(model) == (
        "model with the core Wide: images 18 x 32 -> 3 channels 14 x 28\n"
        "predicts mouse a (2 neurons), b (3 neurons)\n"
        "takes images alone\n"
        "not trained yet"
    )


# ---- the models that come with the kit ----


def readme_scores():
    """Scores in the README: name -> (validation, final single-trial, to average, FEVE)."""
    text = (SHIPPED / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (sample\S+) \| \d+ \| (.*) \|$", text, flags=re.M)
    return {name: tuple(map(float, numbers.split(" | "))) for name, numbers in rows}


def test_shipped_models_are_those_in_the_readme():
    files = sorted(SHIPPED.rglob("*.safetensors"), key=lambda file: file.stem)
    assert [file.stem for file in files] == sorted(readme_scores())
    assert set(SAMPLES) < set(readme_scores())
    assert max(file.stat().st_size for file in files) < 1.3e6


@pytest.mark.parametrize("name", SAMPLES)
def test_pretrained_shipped_needs_no_recording(name, tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_DATA_DIR", str(tmp_path / "none"))
    model = kit.pretrained(name)
    assert not (tmp_path / "none").exists()
    mice = 2 if "pretrain" in name else 1
    assert not model.training and len(model.data_statistics) == mice


def computed_scores(name):
    """The four scores of a model in the README, computed again."""
    model = kit.pretrained(name)
    mouse = re.match(r"sample-pretrain|sample\+?", name)[0]
    data = kit.load(mouse)
    if len(data) > 1:  # open mice
        final = kit.score(model, data, "test")
    else:
        rows = data.mouse.rows("final_test")
        final = kit.evaluation.compute_scores(
            kit.predict(model, data, "final_test"), kit.truth(mouse).responses[rows],
            data.mouse.image_ids[rows], data.mouse.unit_ids)  # fmt: skip
    validation = kit.score(model, data, "validation").single_trial
    return validation, final.single_trial, final.to_average, final.feve


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(readme_scores()))
def test_shipped_model_scores_as_in_the_readme(name):
    row = readme_scores()[name]
    assert computed_scores(name) == pytest.approx(row, abs=0.001)
    for value in row[1:]:
        assert f"{value:.3f}"[1:] in kit.pretrained(name).description


def test_pretrained_names_its_mice_in_one_order():
    model = kit.pretrained("sample-pretrain-cnn")
    assert list(model.data_statistics) == ["99003-1-1", "99004-1-1"]
