"""The settings of a model, and behaviour of any columns: what a model takes of it, and refuses."""

import itertools

import numpy as np
import pytest
import tiny
import torch

import kit
from kit.data.layout import BEHAVIOR

PARTS = ("behavior_channels", "gain", "minmax_behavior")


@pytest.fixture(scope="module")
def lab(plus):
    """A mouse with running and licks, and no eye tracker."""
    return tiny.with_columns(plus, "running", "licks", eye=False)


def names_of(model):
    return model.config.behavior_names


def test_config_of_official_recordings_is_as_it_was(plus):
    assert kit.ModelConfig.of(plus) == kit.ModelConfig(True, True, (18, 32))
    assert kit.ModelConfig().behavior_names == BEHAVIOR == ("pupil", "pupil_change", "running")
    assert kit.pretrained("sample+-cnn").config.behavior_names == BEHAVIOR  # an older file


def test_config_takes_the_columns_of_the_recording(lab, plain):
    config = kit.ModelConfig.of(lab)
    assert config.behavior_names == ("running", "licks")
    assert config.core_channels == 3 and not config.shifter
    assert kit.ModelConfig.of(plain).behavior_names == BEHAVIOR
    assert kit.ModelConfig(behavior_names=["running"]).behavior_names == ("running",)


@pytest.mark.parametrize("parts", [p for n in (1, 2, 3) for p in itertools.combinations(PARTS, n)])
def test_model_follows_the_columns(lab, parts, tmp_path):
    """It trains, and each column has an effect; saved and opened, it predicts the same."""
    if parts == ("minmax_behavior",):
        return
    config = kit.ModelConfig.of(lab, **dict.fromkeys(PARTS, False) | dict.fromkeys(parts, True))
    model = kit.cnn_baseline(lab, channels=2, config=config)
    kit.train(model, lab, kit.TrainConfig(epochs=1, device="cpu"))
    batch = lab.mouse.first("train", 4)
    for gain in model.gains.values():
        torch.nn.init.normal_(gain.mlp[2].weight)  # after one epoch it is close to 1
    model.eval()
    with torch.no_grad():
        before = model(batch)
        for column in range(2):
            behavior = batch.behavior.clone()
            behavior[:, column] += 1
            assert not torch.allclose(model(batch._replace(behavior=behavior)), before)
    kit.save(model, tmp_path / "m.safetensors")
    again = kit.load_model(tmp_path / "m.safetensors")
    assert again.config == model.config
    with torch.no_grad():
        assert torch.equal(again(batch), before)
    again.validate_data(lab)


def test_gain_of_one_column_is_worked_out_by_hand(plus):
    data = tiny.with_columns(plus, "running")
    config = kit.ModelConfig.of(data, behavior_channels=False, gain=True, shifter=False)
    model = kit.cnn_baseline(data, channels=2, config=config).eval()
    gain = model.gains["7-1-1"].mlp
    assert gain[0].weight.shape == (10, 1)
    torch.nn.init.constant_(gain[2].bias, 0.5)  # elu(.5) + 1, whatever the animal does
    batch = data.mouse.first("train", 3)
    with torch.no_grad():
        ratio = model(batch)
        torch.nn.init.zeros_(gain[2].bias)
        ratio = ratio / model(batch)
    torch.testing.assert_close(ratio, torch.full_like(ratio, 1.5))


def test_model_refuses_other_columns_and_names_both(lab, plus):
    official = kit.cnn_baseline(plus, channels=2)
    own = kit.cnn_baseline(lab, channels=2)
    with pytest.raises(ValueError, match=r"takes the behaviour running, licks, and that of mouse "
                       r"7-1-1 is pupil, pupil_change, running; build"):  # fmt: skip
        kit.score(own, plus, "validation")
    other = tiny.with_columns(plus, "licks", "running")
    for data in (lab, tiny.with_columns(plus, "running"), other):
        with pytest.raises(ValueError, match="this model takes"):
            kit.train(official, data)
    with pytest.raises(ValueError, match=r"takes the behaviour running, licks, .* licks, running;"):
        kit.predict(own, other, "validation")
    blind = kit.cnn_baseline(lab, channels=2, config=kit.ModelConfig(image_size=(18, 32)))
    assert kit.predict(blind, other, "validation").shape == (12, 24)  # of the images alone


def test_model_refuses_a_batch_of_other_columns(lab):
    model = kit.cnn_baseline(lab, channels=2)
    batch = kit.Batch.typical(np.zeros((5, 18, 32)))
    with pytest.raises(ValueError, match=r"\(5, 2\) of running, licks for .* \(5, 3\)") as said:
        model(batch)
    assert "kit.Batch.typical(images, model.typical_behavior())" in str(said.value)


def test_typical_behavior(lab, plus):
    assert kit.cnn_baseline(plus, 2).typical_behavior() == {
        "pupil": 4, "pupil_change": 0, "running": 0.5}  # fmt: skip
    model = kit.cnn_baseline(lab, channels=2)
    assert model.typical_behavior() == {"running": 0.5, "licks": 0}  # not trained yet
    model.register_data(lab)
    typical = model.typical_behavior()
    assert typical["running"] == 0.5
    assert typical["licks"] == pytest.approx(lab.mouse.behavior[:, 1].mean(), rel=1e-5)
    batch = kit.Batch.typical(np.zeros((5, 18, 32)), typical)
    assert batch.behavior.shape == (5, 2) and model(batch).shape == (5, 24)
    assert kit.ensemble([model, model]).typical_behavior() == typical


def test_repr_names_the_columns(lab, plus):
    assert "the behaviour is running, licks" in repr(kit.cnn_baseline(lab, channels=2))
    assert "the behaviour is" not in repr(kit.cnn_baseline(plus, channels=2))


def test_vit_takes_the_columns(lab, plus):
    vit = kit.ViTConfig(patch=6, dim=4, depth=1)
    both = tiny.with_columns(plus, "running", "licks")
    model = kit.vit_baseline(both, vit)
    assert model.core.blocks[0].state[0].in_features == 2 + 2
    assert model(both.mouse.first("train", 3)).shape == (3, 24)
    assert kit.vit_baseline(plus, vit).core.blocks[0].state[0].in_features == 5
    channels = kit.vit_baseline(lab, vit)  # no eye position: behaviour becomes input channels
    assert channels.config.behavior_channels and channels.core.patch_embed.in_channels == 3


def test_ensemble_refuses_members_of_other_columns(plus):
    names = (["running", "licks"], ["licks", "running"])
    models = [kit.cnn_baseline(tiny.with_columns(plus, *each), channels=2) for each in names]
    with pytest.raises(ValueError, match="models 0 and 1 differ"):
        kit.ensemble(models)
