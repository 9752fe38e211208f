"""The vision transformer: shapes, parameters counted by hand, attention written out, in a model."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

import kit
from kit.models.cores.vit import Attention, ViTConfig, ViTCore

SIZE = (18, 32)
SMALL = ViTConfig(patch=6, stride=4, dim=8, depth=2, heads=2, head_dim=3, mlp_dim=10)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def large_weights(core):
    """The same core with weights large enough for every part to have an effect."""
    for p in core.parameters():
        nn.init.normal_(p, std=0.3)
    return core.eval()


# ---- the core ----


def test_vit_core_shapes():
    core = ViTCore(SMALL, SIZE)
    assert core(torch.randn(2, 1, *SIZE)).shape == (2, 8, 4, 7)  # (18 - 6) / 4 + 1, (32 - 6) / 4 …
    assert core.pos_embedding.shape == (1 + 4 * 7, 8)
    core = ViTCore(SMALL, (6, 7), channels=4)
    assert core(torch.randn(2, 4, 6, 7)).shape == (2, 8, 1, 1)
    published = ViTCore(ViTConfig.published(), takes_state=True)
    assert published.pos_embedding.shape == (1 + 29 * 57, 155)
    assert len(published.blocks) == 4


def published_by_hand():
    patches = 8 * 8 * 155 + 155
    places = 155 + (1 + 29 * 57) * 155  # CLS, and one for every token
    state = (5 * 77 + 77) + (77 * 155 + 155)
    attention = 2 * 155 + 155 * 3 * 620 + (620 * 155 + 155)
    mlp = 2 * 155 + (155 * 488 + 488) + (488 * 155 + 155)
    return patches + places + 4 * (attention + mlp), 4 * state


def test_vit_core_parameters_by_hand():
    image, state = published_by_hand()
    assert parameters(ViTCore(ViTConfig.published())) == image
    assert parameters(ViTCore(ViTConfig.published(), takes_state=True)) == image + state


def test_published_settings():
    assert dataclasses.asdict(ViTConfig.published()) == {
        "patch": 8, "stride": 1, "dim": 155, "depth": 4, "heads": 4, "head_dim": 155,
        "mlp_dim": 488, "state_mlp_dim": 77, "patch_dropout": 0.0229, "dropout": 0.2544,
    }  # fmt: skip
    assert ViTConfig.published(stride=4).stride == 4
    core = ViTCore(ViTConfig.published())
    assert {m.p for m in core.blocks.modules() if isinstance(m, nn.Dropout)} == {0.2544}
    assert core.dropout.p == 0.0229


@pytest.mark.parametrize("takes_state", [False, True])
def test_vit_core_equals_torch_encoder(takes_state):
    """Against nn.TransformerEncoderLayer, whose heads share the width between them."""
    config = ViTConfig(patch=6, stride=4, dim=8, depth=2, heads=2, head_dim=4, mlp_dim=10)
    core, images = (
        large_weights(ViTCore(config, SIZE, takes_state=takes_state)),
        torch.randn(3, 1, *SIZE),
    )
    state = torch.randn(3, 5) if takes_state else None
    tokens = nn.functional.unfold(images, 6, stride=4).mT  # (3, 28, 36)
    tokens = tokens @ core.patch_embed.weight.flatten(1).T + core.patch_embed.bias  # (3, 28, 8)
    tokens = torch.cat([core.cls.expand(3, 1, 8), tokens], 1) + core.pos_embedding
    for block in core.blocks:
        layer = nn.TransformerEncoderLayer(8, 2, 10, activation="gelu", batch_first=True,
                                           norm_first=True).eval()  # fmt: skip
        first, _, second, _ = (m for m in block.mlp if not isinstance(m, nn.LayerNorm | nn.GELU))
        layer.load_state_dict({
            "self_attn.in_proj_weight": block.attention.to_qkv.weight,
            "self_attn.in_proj_bias": torch.zeros(24),
            "self_attn.out_proj.weight": block.attention.to_out.weight,
            "self_attn.out_proj.bias": block.attention.to_out.bias,
            "linear1.weight": first.weight, "linear1.bias": first.bias,
            "linear2.weight": second.weight, "linear2.bias": second.bias,
            "norm1.weight": block.attention.norm.weight, "norm1.bias": block.attention.norm.bias,
            "norm2.weight": block.mlp[0].weight, "norm2.bias": block.mlp[0].bias,
        })  # fmt: skip
        if takes_state:
            hidden = block.state[0](state).tanh()
            tokens = tokens + block.state[2](hidden).tanh()[:, None]
        tokens = layer(tokens)
    expected = tokens[:, 1:].unflatten(1, (4, 7)).permute(0, 3, 1, 2)  # (3, 8, 4, 7)
    torch.testing.assert_close(core(images, state), expected, rtol=1e-4, atol=1e-5)


def test_attention_by_hand():
    """For each image and head: softmax(query · key / sqrt(head width)) @ value."""
    attention, tokens = large_weights(Attention(SMALL)), torch.randn(2, 5, 8)
    query, key, value = attention.to_qkv(attention.norm(tokens)).split(6, dim=-1)  # 2 heads of 3
    outputs = torch.zeros(2, 5, 6)
    for image, head in itertools.product(range(2), (slice(0, 3), slice(3, 6))):
        weights = (query[image, :, head] @ key[image, :, head].T / 3**0.5).exp()
        shares = weights / weights.sum(1, keepdim=True)
        outputs[image, :, head] = shares @ value[image, :, head]
    expected = attention.to_out(outputs)
    torch.testing.assert_close(attention(tokens), expected, rtol=1e-4, atol=1e-5)


def test_vit_core_keeps_patches_in_place():
    """With blocks that add nothing, the features are a convolution plus the positions."""
    core = ViTCore(SMALL, SIZE).eval()
    for block in core.blocks:
        for last in (block.attention.to_out, block.mlp[-2]):
            last.weight.data.zero_()
            last.bias.data.zero_()
    images = torch.randn(2, 1, *SIZE)
    places = core.pos_embedding[1:].T.reshape(8, 4, 7)
    torch.testing.assert_close(core(images), core.patch_embed(images) + places)


def test_dropout_in_training_only():
    config = dataclasses.replace(SMALL, patch_dropout=0.5, dropout=0.5)
    core, images = large_weights(ViTCore(config, SIZE)), torch.randn(2, 1, *SIZE)
    assert torch.equal(core(images), core(images))
    core.train()
    assert not torch.equal(core(images), core(images))


@pytest.mark.parametrize("change", [{"patch": 0}, {"heads": 1.5}, {"depth": True}, {"dim": "8"},
                                    {"dropout": 1}, {"patch_dropout": -0.1}])  # fmt: skip
def test_vit_config_impossible_sizes(change):
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"{name}={value!r} is not possible; give"):
        ViTConfig(**change)


def test_vit_core_patch_larger_than_image():
    with pytest.raises(
        ValueError, match="patch=6 is not possible; give a whole number from 1 to 5"
    ):
        ViTCore(SMALL, (5, 32))


# ---- the model ----


def test_model_without_state(plus):
    model = kit.vit_baseline(plus, SMALL, kit.ModelConfig(image_size=SIZE), takes_state=False)
    large_weights(model.eval().core)
    batch = plus.mouse.first("train", 4)
    assert torch.equal(model(batch), model(kit.Batch(batch.images)))
    model = kit.vit_baseline(plus, SMALL, kit.ModelConfig(True, image_size=SIZE), takes_state=False)
    assert model.core.patch_embed.in_channels == 4


@pytest.mark.parametrize("takes_state", [False, True])
def test_save_and_load(plus, tmp_path, takes_state):
    config = dataclasses.replace(SMALL, dropout=0.1)
    model = kit.vit_baseline(plus, config, takes_state=takes_state)
    log = kit.train(model, plus, kit.TrainConfig(epochs=1, batch_size=16, device="cpu"))
    assert np.isfinite(log.loss).all()
    kit.save(model, tmp_path / "vit.safetensors")
    again = kit.load_model(tmp_path / "vit.safetensors")
    assert again.core.settings == model.core.settings
    assert again.core.takes_state == takes_state
    predictions = [kit.predict(each, plus, "test") for each in (model, again)]
    np.testing.assert_array_equal(*predictions)


def test_centers_by_hand(plus):
    """A neuron that looks at the last column of patches looks at their middle."""
    model = kit.vit_baseline(plus, SMALL, kit.ModelConfig(image_size=SIZE))
    readout = model.readouts["7-1-1"]
    readout.position_mlp = nn.Identity()
    readout.cortical_positions = torch.ones(24, 2)
    x = (32 - 6 // 2 - 2 - 16) / 16  # columns begin at 0, 4 … 24: the last ends 2 pixels early
    y = (18 - 6 // 2 - 9) / 9
    centers = model.centers(plus.mouse)
    np.testing.assert_allclose(centers[0, 1], y, rtol=1e-6)
    # patches that leave two columns over are not quite centred: by one pixel
    np.testing.assert_allclose(centers[0, 0], x + 1 / 16, rtol=1e-6)
