"""Which weights of an adapter are of no use, by vLLM's own names."""

import pytest

from teacher_server.vllm.patches.worker import unused

MODULES = ["model.layers.0.self_attn.qkv_proj", "model.layers.0.mlp.down_proj", "model.layers.0.mlp.experts"]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (["model.layers.0.self_attn.qkv_proj"], []),
        (["model.layers.0.self_attn.qkv_proj", "model.layers.0.self_attn.k"], ["model.layers.0.self_attn.k"]),
        (["layers.0.mlp.down_proj", "h.0.down_proj"], ["h.0.down_proj", "layers.0.mlp.down_proj"]),
        (["model.layers.0.mlp.experts.base_layer"], []),
    ],
    ids=["used", "one is not", "none is", "experts"],
)
def test_weights_without_a_module_are_named(weights: list[str], expected: list[str]):
    assert unused(weights, MODULES) == expected
