"""A vision transformer as core: V1T, Li et al. (TMLR 2023), arXiv 2302.03023."""

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of a `ViTCore`. The default trains on two CPU cores within a minute."""

    patch: int = 16             # side of the square that becomes one token, in pixels
    stride: int = 4             # pixels from one patch to the next; less than patch: they overlap
    dim: int = 64               # values in a token, the channels of the feature map
    depth: int = 2              # rounds of attention and MLP
    heads: int = 2              # different looks at the other tokens in each round
    head_dim: int = 32          # values a head compares
    mlp_dim: int = 128          # units inside the MLP of a block
    state_mlp_dim: int = 32     # units inside the MLP that takes behaviour and eye position
    patch_dropout: float = 0.0  # share of the tokens' values left out at random in training
    dropout: float = 0.0        # the same inside the blocks

    def __post_init__(self):
        for name, value in asdict(self).items():
            if "dropout" in name:
                fine, needed = isinstance(value, int | float) and 0 <= value < 1, "0 to below 1"
            else:
                fine, needed = type(value) is int and value > 0, "a whole number from 1 up"
            if not fine:
                raise ValueError(f"{name}={value!r} is not possible; give {needed}")

    @classmethod
    def published(cls, **changes):
        """V1T as published; it needs a GPU. changes: any field, to try one thing at a time."""
        return cls(**{"patch": 8, "stride": 1, "dim": 155, "depth": 4, "heads": 4,
                      "head_dim": 155, "mlp_dim": 488, "state_mlp_dim": 77,
                      "patch_dropout": 0.0229, "dropout": 0.2544} | changes)


class ViTCore(nn.Module):
    """Images to features by attention: patches become tokens, which look at one another.

    (B, channels, H, W) -> (B, dim, rows, columns), one feature pixel a patch. config: a
    `ViTConfig`. With `takes_state` it is called with a second argument, the state (B, 5) of the
    mouse: behaviour, then pupil centre; in every block an MLP of it is added to all tokens.
    """

    def __init__(self, config=None, image_size=(36, 64), channels=1, takes_state=False):
        super().__init__()
        c = ViTConfig(**config) if isinstance(config, dict) else config or ViTConfig()
        if min(image_size) < c.patch:
            raise ValueError(f"patches of {c.patch} pixels do not fit into {tuple(image_size)} "
                             "images; give smaller ones, ViTConfig(patch=...)")
        self.settings = {"config": asdict(c), "image_size": list(map(int, image_size)),
                         "channels": channels, "takes_state": takes_state}
        self.takes_state, self.spacing = takes_state, c.stride  # asked by the model
        self.patch_embed = nn.Conv2d(channels, c.dim, c.patch, stride=c.stride)
        rows, columns = ((side - c.patch) // c.stride + 1 for side in image_size)
        # small at first, lest places drown patches (V1T: 50 times as large, which learns later)
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1, c.dim))  # a token of no place
        self.pos_embedding = nn.Parameter(0.02 * torch.randn(1 + rows * columns, c.dim))
        self.dropout = nn.Dropout(c.patch_dropout)
        self.blocks = nn.ModuleList(Block(c, takes_state) for _ in range(c.depth))
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images, state=None):
        if self.takes_state and state is None:
            raise ValueError("this core takes the mouse's state (B, 5) too: core(images, state)")
        patches = self.patch_embed(images)  # (B, dim, rows, columns)
        tokens = patches.flatten(2).mT  # (B, rows * columns, dim)
        tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], 1)  # (B, T, dim)
        tokens = self.dropout(tokens + self.pos_embedding)
        for block in self.blocks:
            tokens = block(tokens, state)
        return tokens[:, 1:].mT.reshape(patches.shape)  # (B, dim, rows, columns), without CLS


class Block(nn.Module):
    """State, attention and MLP, each added to the tokens: (B, T, dim) -> (B, T, dim)."""

    def __init__(self, c, takes_state):
        super().__init__()
        self.state = nn.Sequential(nn.Linear(5, c.state_mlp_dim), nn.Tanh(),
                                   nn.Linear(c.state_mlp_dim, c.dim), nn.Tanh()
                                   ) if takes_state else None
        self.attention = Attention(c)
        self.mlp = nn.Sequential(nn.LayerNorm(c.dim), nn.Linear(c.dim, c.mlp_dim), nn.GELU(),
                                 nn.Dropout(c.dropout), nn.Linear(c.mlp_dim, c.dim),
                                 nn.Dropout(c.dropout))

    def forward(self, tokens, state):
        if self.state is not None:
            tokens = tokens + self.state(state)[:, None]  # (B, 1, dim), the same for all tokens
        tokens = tokens + self.attention(tokens)
        return tokens + self.mlp(tokens)


class Attention(nn.Module):
    """Every token gathers from all tokens what it asks for: (B, T, dim) -> (B, T, dim)."""

    def __init__(self, c):
        super().__init__()
        self.heads, inner = c.heads, c.heads * c.head_dim
        self.norm = nn.LayerNorm(c.dim)
        self.to_qkv = nn.Linear(c.dim, 3 * inner, bias=False)  # queries, keys and values
        self.to_out = nn.Linear(inner, c.dim)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, tokens):
        asked = self.to_qkv(self.norm(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = asked.permute(2, 0, 3, 1, 4)  # (B, heads, T, head dim) each
        found = scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout.p if self.training else 0.0)
        return self.dropout(self.to_out(found.transpose(1, 2).flatten(2)))
