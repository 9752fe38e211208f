"""A vision transformer as core: V1T, Li et al. (TMLR 2023), arXiv 2302.03023."""

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kit.checks import check_settings, require, require_int


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of a `ViTCore`. The default trains on two CPU cores within a minute."""

    patch: int = 16  # side of the square that becomes one token, in pixels
    stride: int = 4  # pixels from one patch to the next; patches overlap if below patch
    dim: int = 64  # values in a token, the channels of the feature map
    depth: int = 2  # number of blocks, each of attention and MLP
    heads: int = 2  # attention heads in a block
    head_dim: int = 32  # values in a query, key or value of a head
    mlp_dim: int = 128  # units inside the MLP of a block
    state_mlp_dim: int = 32  # units inside the MLP of behaviour and eye position
    patch_dropout: float = 0.0  # share of the tokens' values set to 0 at random in training
    dropout: float = 0.0  # the same inside the blocks

    def __post_init__(self) -> None:
        sizes = dict.fromkeys(self.__dataclass_fields__, (1, 4096))
        counts = dict.fromkeys(("depth", "heads"), (1, 64))
        shares = dict.fromkeys(("patch_dropout", "dropout"), (0, 0.99))
        check_settings(self, **sizes | counts | shares)

    @classmethod
    def published(cls, **changes: int | float) -> "ViTConfig":
        """V1T as published; it needs a GPU. changes: any field, to try one thing at a time."""
        sizes = cls(patch=8, stride=1, dim=155, depth=4, heads=4, head_dim=155, mlp_dim=488)
        v1t = replace(sizes, state_mlp_dim=77, patch_dropout=0.0229, dropout=0.2544)
        return replace(v1t, **changes)


class ViTCore(nn.Module):
    """Images to features by attention: each patch becomes a token, and tokens attend to all tokens.

    (B, channels, H, W) -> (B, dim, rows, columns), one feature pixel for each patch.
    config: a `ViTConfig`, or a dict of its fields. takes_state: whether each block adds an MLP of
    behaviour and pupil centre (B, state_size), 5 values on Sensorium+ mice. Raises ValueError if a
    patch is larger than the images.
    """

    def __init__(
        self,
        config: ViTConfig | dict | None = None,
        image_size: tuple = (36, 64),
        channels: int = 1,
        takes_state: bool = False,
        state_size: int = 5,
    ) -> None:
        super().__init__()
        if not isinstance(config, ViTConfig):
            config = ViTConfig(**(config or {}))
        patch, stride, dim = config.patch, config.stride, config.dim
        image_size = require("image_size", image_size, tuple[int, int], (1, 1024))
        require_int("patch", patch, 1, min(image_size))
        self.settings = {
            "config": asdict(config),
            "image_size": image_size,
            "channels": require_int("channels", channels, 1, 1024),
            "takes_state": require("takes_state", takes_state, bool),
            "state_size": require_int("state_size", state_size, 1, 1024),
        }
        self.state_size = state_size
        self.takes_state = takes_state  # Model gives the state to cores with this attribute
        state = " that take behaviour and eye position" if takes_state else ""
        self.label = f"vision transformer (ViT) of {config.depth} blocks{state}"
        self.spacing = stride  # image pixels between feature pixels, for Model.centers
        self.patch_embed = nn.Conv2d(channels, dim, patch, stride=stride)
        rows, columns = ((side - patch) // stride + 1 for side in image_size)
        # 50 times smaller than V1T's: positions that outweigh patches at first delay learning
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1, dim))  # a token without a position
        self.pos_embedding = nn.Parameter(0.02 * torch.randn(1 + rows * columns, dim))
        self.dropout = nn.Dropout(config.patch_dropout)
        size = state_size if takes_state else 0
        self.blocks = nn.ModuleList(Block(config, size) for _ in range(config.depth))
        for name, value in self.blocks.named_parameters():
            if value.ndim == 2:  # of a linear layer; a layer norm starts with 1 and 0
                nn.init.trunc_normal_(value, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(value)

    def forward(self, images: Tensor, state: Tensor | None = None) -> Tensor:
        patches = self.patch_embed(images)  # (B, dim, rows, columns)
        tokens = patches.flatten(2).mT  # (B, rows * columns, dim)
        tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], 1)  # (B, T, dim)
        tokens = self.dropout(tokens + self.pos_embedding)
        for block in self.blocks:
            tokens = block(tokens, state)
        return tokens[:, 1:].mT.reshape(patches.shape)  # (B, dim, rows, columns), without CLS


class Block(nn.Module):
    """State, attention and MLP, each added to the tokens: (B, T, dim) -> (B, T, dim).

    state_size: the number of values that it takes of behaviour and eye; 0 for none.
    """

    def __init__(self, config: ViTConfig, state_size: int) -> None:
        super().__init__()
        dim, self.state = config.dim, None
        if state_size:
            first = nn.Linear(state_size, config.state_mlp_dim)
            last = nn.Linear(config.state_mlp_dim, dim)
            self.state = nn.Sequential(first, nn.Tanh(), last, nn.Tanh())
        self.attention = Attention(config)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, config.mlp_dim), nn.GELU())
        self.mlp.extend([nn.Dropout(config.dropout), nn.Linear(config.mlp_dim, dim)])
        self.mlp.append(nn.Dropout(config.dropout))

    def forward(self, tokens: Tensor, state: Tensor | None) -> Tensor:
        if self.state is not None:
            tokens = tokens + self.state(state)[:, None]  # (B, 1, dim), the same for all tokens
        tokens = tokens + self.attention(tokens)
        return tokens + self.mlp(tokens)


class Attention(nn.Module):
    """Each head: softmax(query . key / sqrt(head_dim)) @ value. (B, T, dim) -> (B, T, dim)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        inner = config.heads * config.head_dim
        self.norm = nn.LayerNorm(config.dim)
        self.to_qkv = nn.Linear(config.dim, 3 * inner, bias=False)  # queries, keys and values
        self.to_out = nn.Linear(inner, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        qkv = self.to_qkv(self.norm(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, head_dim) each
        dropout = self.dropout.p if self.training else 0.0
        heads = scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.dropout(self.to_out(heads.transpose(1, 2).flatten(2)))  # (B, T, dim)
