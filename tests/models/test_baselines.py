"""The baselines: their parts, seeds and refusals."""

import pytest
import torch

import kit

SIZE = (18, 32)
SMALL = kit.ViTConfig(patch=6, stride=4, dim=8, depth=2, heads=2, head_dim=3, mlp_dim=10)


def test_baselines_follow_the_track(plus, plain):
    for baseline in (kit.cnn_baseline, kit.linear_baseline):
        model = baseline(plus, channels=2)
        assert model.config == kit.ModelConfig(True, True, SIZE)
        assert list(model.shifters) == ["7-1-1"]
        assert model.core.layers[0][0].in_channels == 4
        model = baseline(plain, channels=2)
        assert model.config == kit.ModelConfig(False, False, SIZE)
        assert len(model.shifters) == 0
        assert model.core.layers[0][0].in_channels == 1


def test_vit_baseline_follows_the_track(plus, plain):
    model = kit.vit_baseline(plus, SMALL)
    assert model.config == kit.ModelConfig(shifter=True, image_size=SIZE)
    assert model.core.takes_state
    assert model.feature_shape == (8, 4, 7)
    assert "vision transformer (ViT) of 2 blocks that take behaviour and eye position" in repr(
        model
    )
    model = kit.vit_baseline(plain, SMALL)
    assert model.config == kit.ModelConfig(image_size=SIZE)
    assert not model.core.takes_state
    assert all(block.state is None for block in model.core.blocks)
    assert kit.predict(model, plain, "test").shape == (11, 24)


def test_strong_baseline_follows_the_track(plus, plain):
    model = kit.strong_baseline(plus, channels=2)
    strong = {"shifter": True, "gain": True, "minmax_behavior": True}
    assert model.config == kit.ModelConfig(image_size=SIZE, **strong)
    assert model.feature_shape == (6, 6, 20)
    assert "divisive normalisation, then 2 convolutional layers: images 18 x 32" in repr(model)
    model = kit.strong_baseline(plain, channels=2)
    assert model.config == kit.ModelConfig(image_size=SIZE)
    assert kit.predict(model, plain, "test").shape == (11, 24)
    own = kit.ModelConfig(behavior_channels=True, image_size=SIZE)
    assert kit.strong_baseline(plus, 2, own).core.settings["in_channels"] == 4


@pytest.mark.parametrize("channels", [0, 1025, 2.5, True])
def test_cnn_baseline_impossible_channels(plus, channels):
    with pytest.raises(ValueError, match=f"channels={channels} is not possible; .*from 1 to 1024"):
        kit.cnn_baseline(plus, channels=channels)


def test_vit_baseline_refuses_other_configs(plus):
    with pytest.raises(
        ValueError, match=r"vit=ModelConfig.* is not possible; give a ViTConfig or None"
    ):
        kit.vit_baseline(plus, kit.ModelConfig(image_size=SIZE))


@pytest.mark.parametrize("build", [kit.cnn_baseline, kit.strong_baseline, kit.vit_baseline])
def test_baseline_seed(plus, build):
    """The config's seed fixes all weights, whatever the global random state, which stays."""

    def weights(seed):
        config = kit.ModelConfig(shifter=True, image_size=SIZE, seed=seed)
        size = SMALL if build is kit.vit_baseline else 2
        model = build(plus, size, config)
        return torch.cat([value.flatten() for value in model.state_dict().values()])

    torch.manual_seed(1)
    first = weights(7)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(first, weights(7))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, weights(8))
