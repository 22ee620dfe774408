"""Initial weights from which a small Llama chooses a function by a word of its description, before any training.

Copying brings what *followed* a token; a function's name *precedes* its description, which takes four layers of heads:

0. look back: every token knows the one before;
1. carry: the last head looks for the latest token that came after a heading such as `{'name': '`, and keeps that name;
2. match: half the heads look for the same token elsewhere, and fetch the name that it carries; the others copy;
3. bring: the first head predicts the name that the word fetched which stands a fixed distance before.

A token, the one before it and a carried name lie in subspaces of their own, so that none disturbs another, and all
embeddings are of one length, so that positions compare alike. Training then changes every weight: the circuit's own at
a small share of the learning rate, since at all of it they would be unlearnt before they are of use.

Legend: D = hidden size, H = heads, S = head size. A head has S/2 rotary pairs, the fastest first: pair f is its
dimensions f and f + S/2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention

ROPE_THETA = 1_000_000.0
"""Base of the rotary frequencies: half of the pairs turn so slowly that content compares over a whole prompt."""
LAYERS = 4
"""Layers that the circuit takes."""
_COMMON = 0.5
"""Length of the direction that all embeddings share, beside a random part of length about 1."""
_LOOK_BACK, _NAME, _APART = 100.0, 10.0, 4.0
"""How strongly, in nats: a pair prefers the token before; a head prefers names; a pair avoids the token itself."""
_MATCH, _COPY = 5.0, 4.0
"""Length of the queries and keys that compare content."""
_CARRY_SLOPE = 0.1
"""How much less, in nats, a head prefers a token for each position that it is further back."""
_WORD_BEFORE = 3
"""How many tokens before a name is asked for its word stands: a line's end, a label and its colon lie between."""
_CARRIED, _FETCHED, _COPIED, _BROUGHT = 1.2, 1.2, 1.5, 9.0
"""How strongly each is written."""
_NOISE = 0.02
"""Standard deviation of the random weights of heads that the circuit leaves free."""
_MODERATE = 0.3
"""Share of the learning rate for what stands close to the circuit."""
_FAST, _SLOW, _SLOWEST = 4, 7, 3e-3
"""Pairs that tell neighbours apart; the first pair that compares content; the frequency below which distance counts."""
_NORMS = (1 + _COMMON**2, 2.25, 3.0, 4.6)
"""Squared length of the hidden states that each layer reads."""


class _Heads:
    """The weights of one layer's attention, head by head: q, k and v are [H, S, D], o is [H, D, S]."""

    def __init__(self, attention: LlamaAttention, layer: int, size: int) -> None:
        shape = (size // attention.head_dim, attention.head_dim, size)
        self._attention, self.size, self.pairs = attention, size, attention.head_dim // 2
        self.count = shape[0]
        self.scale = math.sqrt(size / _NORMS[layer])
        self.q, self.k = torch.randn(2, *shape) * _NOISE
        self.v, self.o = _orthogonal(size, size).reshape(shape), torch.zeros(shape[0], size, shape[1])

    @property
    def common(self) -> Tensor:
        """The direction that all tokens share [D], which reads as 1."""
        return torch.full((self.size,), 1 / math.sqrt(self.size)) / (_COMMON * self.scale)

    def frequencies(self) -> Tensor:
        """The angle between neighbours, of each pair."""
        return ROPE_THETA ** (-torch.arange(self.pairs) / self.pairs)

    def nats(self, amount: float) -> float:
        """The length of a query and a key that add `amount` to a score."""
        return math.sqrt(amount * math.sqrt(2 * self.pairs))

    def prefer_late(self, head: int, slope: float) -> None:
        """Let a head look nowhere but at the latest tokens, its scores `slope` lower for each position back."""
        self.q[head] = self.k[head] = 0
        angles = self.frequencies()
        slow = angles < _SLOWEST
        length = self.nats(slope / float(angles[slow].sum())) * self.common
        self.q[head, : self.pairs][slow] += length
        self.k[head, self.pairs :][slow] -= length

    def look_back(self, head: int | slice, distance: int) -> None:
        """Let heads attend to the token `distance` places before."""
        angles = distance * self.frequencies()[:_FAST, None]
        length = math.sqrt(_LOOK_BACK) * self.common
        self.q[head, :_FAST] += length
        self.k[head, :_FAST] += torch.cos(angles) * length
        self.k[head, self.pairs : self.pairs + _FAST] += torch.sin(angles) * length

    def store(self) -> None:
        attention = self._attention
        attention.q_proj.weight.copy_(self.q.flatten(0, 1))
        attention.k_proj.weight.copy_(self.k.flatten(0, 1))
        attention.v_proj.weight.copy_(self.v.flatten(0, 1))
        attention.o_proj.weight.copy_(self.o.transpose(0, 1).flatten(1))


@dataclass(frozen=True)
class _Spaces:
    """Orthonormal columns for what is kept of a token: itself, compared with others; the one before; a carried name."""

    common: Tensor
    before: Tensor
    carried: Tensor
    compared: Tensor

    @property
    def moved(self) -> Tensor:
        """How a token is stored at the one behind it [D, D]."""
        return self.before @ self.compared.T


@torch.no_grad()
def start_lookup(model: LlamaForCausalLM, heading: int) -> None:
    """Overwrite the random weights of `model`, of LAYERS layers or more, with such a start; names follow `heading`."""
    size, layers = model.config.hidden_size, model.model.layers
    head_size = layers[0].self_attn.head_dim
    spaces = _draw_spaces(size, head_size)
    embeddings = model.model.embed_tokens.weight
    words = nn.functional.normalize(torch.randn(len(embeddings), spaces.compared.shape[1]))
    embeddings.copy_(words @ spaces.compared.T + _COMMON * spaces.common)
    for layer in layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    first, second, third, fourth = (_Heads(layer.self_attn, n, size) for n, layer in enumerate(layers[:LAYERS]))
    read = _within(spaces.compared, head_size).T
    fetched = _within(spaces.compared, head_size)
    _look_back(first, spaces)
    _carry(second, spaces, spaces.moved @ embeddings[heading], read)
    _match(third, spaces, fetched)
    _copy(third, spaces)
    _bring(fourth, fetched, read)
    for heads in (first, second, third, fourth):
        heads.store()


@torch.no_grad()
def rates(model: LlamaForCausalLM, rate: float) -> dict[nn.Parameter, Tensor]:
    """Shares of the learning rate, by which such a start outlives training: of each weight, to be broadcast.

    Embeddings and the circuit's own heads have `rate`; copying heads, and MLPs whose output the circuit reads, a
    moderate share; the other heads of these layers, and whatever isn't named, all.
    """
    count, size = model.config.num_attention_heads, model.model.layers[0].self_attn.head_dim
    own = {0: range(count), 1: range(count - 1, count), 2: range(count // 2), 3: range(1)}
    shares = {model.model.embed_tokens.weight: torch.tensor(rate)}
    for number, layer in enumerate(model.model.layers[:LAYERS]):
        attention, heads = layer.self_attn, torch.full((count,), _MODERATE if number == 2 else 1.0)
        heads[list(own[number])] = rate
        rows = heads.repeat_interleave(size)[:, None]
        shares |= {each.weight: rows for each in (attention.q_proj, attention.k_proj, attention.v_proj)}
        shares |= {attention.o_proj.weight: rows.T, layer.input_layernorm.weight: torch.tensor(rate)}
        if number < LAYERS - 1:
            read = (*layer.mlp.parameters(), layer.post_attention_layernorm.weight)
            shares |= dict.fromkeys(read, torch.tensor(_MODERATE))
    return shares


def _look_back(heads: _Heads, spaces: _Spaces) -> None:
    """Let every head attend to the token before, and store that."""
    heads.look_back(slice(None), 1)
    mix = spaces.moved @ heads.v.flatten(0, 1).T / heads.scale  # [D, H·S]; v is orthogonal
    heads.o = mix.reshape(heads.size, heads.count, -1).transpose(0, 1)


def _carry(heads: _Heads, spaces: _Spaces, heading: Tensor, read: Tensor) -> None:
    """Let the last head attend to the latest token that followed `heading` [D], and keep what it `read`s [S, D]."""
    heads.prefer_late(-1, _CARRY_SLOPE)
    length = heads.nats(_NAME)
    heads.q[-1, heads.pairs - 1] += length * heads.common
    heads.k[-1, heads.pairs - 1] += length / heads.scale * heading
    heads.v[-1] = read
    heads.o[-1] = spaces.carried * _CARRIED / (heads.scale * math.sqrt(2 * len(read) / heads.size))


def _match(heads: _Heads, spaces: _Spaces, fetched: Tensor) -> None:
    """Let the first half of the heads attend to the same token elsewhere, and write its name to `fetched`."""
    half, apart = heads.count // 2, heads.nats(_APART) * heads.common
    for head in range(half):
        content = _content(heads, _orthogonal(2 * heads.pairs, spaces.compared.shape[1]), _SLOW, _MATCH)
        heads.q[head] = heads.k[head] = content @ spaces.compared.T
        heads.q[head, : _FAST - 1] += apart
        heads.k[head, : _FAST - 1] -= apart
        heads.v[head] = spaces.carried.T
        heads.o[head] = fetched * _FETCHED / (heads.scale * _CARRIED * half)


def _copy(heads: _Heads, spaces: _Spaces) -> None:
    """Let the other half attend where the token before is the current token, and bring what stands there."""
    copying = range(heads.count // 2, heads.count)
    parts = spaces.compared.T.tensor_split(len(copying))
    for head, part in zip(copying, parts, strict=True):
        directions = _orthogonal(2 * heads.pairs, spaces.compared.shape[1])
        content = _content(heads, directions, _SLOW, _COPY)
        heads.q[head] = content @ spaces.compared.T
        heads.k[head] = content @ spaces.before.T
        heads.v[head] = 0
        heads.v[head, : len(part)] = part
        heads.o[head] = heads.v[head].T * _COPIED / heads.scale


def _bring(heads: _Heads, fetched: Tensor, read: Tensor) -> None:
    """Let the first head attend to the latest tokens, and predict the names that they fetched."""
    heads.q[0] = heads.k[0] = 0
    heads.look_back(0, _WORD_BEFORE)
    heads.v[0] = fetched.T
    heads.o[0] = read.T * _BROUGHT / heads.scale


def _content(heads: _Heads, directions: Tensor, first: int, length: float) -> Tensor:
    """Return `directions` [S, any] at `length` in the pairs from `first` on, zero in the faster ones."""
    used = torch.zeros(2, heads.pairs)
    used[:, first:] = length
    return directions * used.reshape(-1, 1)


def _draw_spaces(size: int, head_size: int) -> _Spaces:
    """Draw the subspaces, all beside the direction that all tokens share."""
    common = torch.full((size, 1), 1 / math.sqrt(size))
    basis = torch.linalg.qr(torch.cat((common, torch.randn(size, size - 1)), 1)).Q[:, 1:]
    each = (size - 1 - head_size) // 2
    before, compared, carried = basis.split([each, size - 1 - head_size - each, head_size], 1)
    return _Spaces(common[:, 0], before, carried, compared[:, :each])


def _within(space: Tensor, width: int) -> Tensor:
    """Draw orthonormal columns in a subspace that is given by such."""
    return space @ _orthogonal(space.shape[1], width)


def _orthogonal(rows: int, columns: int) -> Tensor:
    return nn.init.orthogonal_(torch.empty(rows, columns))
