"""Initial weights from which a small Llama copies from its context after a hundred steps instead of many thousands.

In them, the heads of the first layer look one token back, and those of the second look for a token that followed the
current one before, and bring it: an induction circuit. All other layers start by writing nothing. Training then changes
every weight as it likes.

Legend: D = hidden size. A head has one rotary pair per frequency, the fastest first: pair f is its dimensions f and
f + pairs.
"""

import math

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention

ROPE_THETA = 10_000.0
"""Base of the rotary frequencies of a model that starts this way."""
_COMMON = 0.5
"""Length of the direction that all embeddings share, beside a random part of length about 1."""
_LOOK_BACK = 40.0
"""How strongly the first layer prefers the token before."""
_MATCH = 2.0
"""Length of the second layer's queries and keys: how strongly it prefers the token that it looks for."""
_BRING = 1.5
"""How strongly the second layer writes the token that it found."""
_NOISE = 0.02
"""Standard deviation of the first layer's random weights."""
_FAST_PAIRS = 4
"""Rotary pairs that tell the token before from all others; content is compared in the slow half of the pairs."""


@torch.no_grad()
def start_copying(model: LlamaForCausalLM) -> None:
    """Overwrite the random weights of `model`, which has two layers or more, with such a start."""
    size = model.config.hidden_size
    embeddings = model.model.embed_tokens.weight
    common = torch.ones(size) / math.sqrt(size)
    embeddings.normal_(0, size**-0.5).add_(_COMMON * common)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    _look_back(first, common)
    _bring_what_followed(second, first.o_proj.weight @ first.v_proj.weight * math.sqrt(size), common)


def _look_back(attention: LlamaAttention, common: Tensor) -> None:
    """Let every head attend to the token before, by the angle that rotary positions put between neighbours."""
    size, pairs = len(common), attention.head_dim // 2
    angles = ROPE_THETA ** (-torch.arange(pairs) / pairs)
    share = math.sqrt(size) * _COMMON / math.sqrt(1 + _COMMON**2)  # of `common` in a normalised embedding
    query, key = torch.randn(2, size // (2 * pairs), 2 * pairs, size) * _NOISE
    for pair in range(_FAST_PAIRS):
        query[:, pair] += math.sqrt(_LOOK_BACK) / share * common
        key[:, pair] += math.sqrt(_LOOK_BACK) / share * torch.cos(angles[pair]) * common
        key[:, pair + pairs] += math.sqrt(_LOOK_BACK) / share * torch.sin(angles[pair]) * common
    attention.q_proj.weight.copy_(query.reshape(-1, size))
    attention.k_proj.weight.copy_(key.reshape(-1, size))
    nn.init.orthogonal_(attention.v_proj.weight)
    nn.init.orthogonal_(attention.o_proj.weight).div_(math.sqrt(size))


def _bring_what_followed(attention: LlamaAttention, moved: Tensor, common: Tensor) -> None:
    """Let every head attend where the token before is the current token; `moved` [D, D] is how that token is stored."""
    size, pairs = len(common), attention.head_dim // 2
    slow = torch.arange(pairs // 2, pairs)
    used = torch.zeros(size // (2 * pairs), 2 * pairs, 1)
    used[:, torch.cat((slow, slow + pairs))] = _MATCH
    directions = nn.init.orthogonal_(torch.empty(size, size)).reshape(-1, 2 * pairs, size) * used
    content = directions.reshape(-1, size) @ (torch.eye(size) - torch.outer(common, common))
    attention.q_proj.weight.copy_(content)
    attention.k_proj.weight.copy_(content @ moved.T)
    nn.init.orthogonal_(attention.v_proj.weight)
    attention.o_proj.weight.copy_(attention.v_proj.weight.T * _BRING / math.sqrt(size))
