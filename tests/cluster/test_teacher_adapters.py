"""Real vLLM with adapters that come and go, against transformers and PEFT; and with weights of 4 bits.

Legend: T = completion length, V = vocabulary size.
"""

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, PreTrainedModel
from vllm.v1.engine.async_llm import AsyncLLM

from common.api import GenerateOptions
from common.errors import UserError
from teacher_server.adapters.manager import AdapterManager
from teacher_server.engine import model_files
from teacher_server.engine.protocol import CompletionLogprobs
from teacher_server.settings import AdapterLoadingSettings, TeacherServerSettings
from teacher_server.vllm.engine import VllmEngine
from teacher_server.vllm.engine_args import engine_args
from teacher_server.vllm.quantization import check_applied
from tests.cluster.test_teacher_positions import Served, draw_pairs, environment, reference_logprobs
from tests.models import save_tiny_adapter, save_tiny_llama

__all__ = ["environment"]  # a fixture
PROMPT, COMPLETION = draw_pairs()[5]
"""Longer than two blocks of the prefix cache."""
MISNAMED = {
    "another wrapper": ("base_model.model.model.", "base_model.model.language_model.model."),
    "no wrapper": ("base_model.model.model.", "base_model.model."),
    "other layers": (".layers.", ".h."),
    "other attention": (".self_attn.", ".attn."),
    "one layer": (".layers.1.self_attn.", ".layers.1.attention."),
}
"""Adapters by what their weights' names are not: each a change of them."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def root(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters to be loaded later: good ones, and ones that must be refused."""
    root = tmp_path_factory.mktemp("root")
    save_tiny_adapter(root / "second", base, seed=2)
    save_tiny_adapter(root / "large", base, rank=16)
    save_tiny_adapter(root / "narrow", save_tiny_llama(root / "narrow-base", hidden_size=64))
    for name, change in MISNAMED.items():
        rewrite(
            copytree(root / "second", root / name),
            lambda weights, change=change: {key.replace(*change): weight for key, weight in weights.items()},
        )
    rewrite(
        copytree(root / "second", root / "untrained"),
        lambda weights: {key: weight * ("lora_B" not in key) for key, weight in weights.items()},
    )
    rewrite(
        copytree(root / "second", root / "tiny"),
        lambda weights: {key: weight * (1e-30 if "lora_B" in key else 1) for key, weight in weights.items()},
    )
    config = root / "dora" / "adapter_config.json"
    copytree(root / "second", config.parent)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_dora": True}))
    rewrite(
        copytree(root / "second", root / "nan"),
        lambda weights: {key: weight * math.nan for key, weight in weights.items()},
    )
    return root


def rewrite(adapter: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Save the adapter's weights as `change` makes them."""
    file = adapter / "adapter_model.safetensors"
    save_file({key: weight.contiguous() for key, weight in change(load_file(file)).items()}, file)


def settings(base: Path, dtype: str, quantization: str | None = None, **fields: Any) -> TeacherServerSettings:
    engine = {
        "dtype": dtype, "quantization": quantization, "max_length": 700, "max_batched_tokens": 768,
        "kv_cache_gib": 0.125, "enforce_eager": True,
    }  # fmt: skip
    return TeacherServerSettings.model_validate({"model": str(base), "engine": engine} | fields)


@pytest.fixture(scope="module")
def served(environment: None, base: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    first = save_tiny_adapter(tmp_path_factory.mktemp("first"), base, seed=1)
    loading = AdapterLoadingSettings(root=root, max_adapters=2, max_rank=8)
    served = Served(settings(base, "float32", adapters={"expert": first}, adapter_loading=loading))
    yield served
    served.close()


def control(served: Served) -> AdapterManager:
    assert served.engine.adapters is not None
    return served.engine.adapters


def adapted(base: Path, adapter: Path) -> PreTrainedModel:
    return PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), adapter)


def errors(positions: CompletionLogprobs, model: PreTrainedModel, prompt: list[int]) -> NDArray[np.float32]:
    """[T]: how far the completion's logprobs are from the model's."""
    completion = positions.token_ids.tolist()
    expected = reference_logprobs(model, prompt, completion)
    return positions.token_logprobs - expected[np.arange(len(completion)), completion]


def in_4_bits(base: Path) -> PreTrainedModel:
    """The model with its decoder's weights rounded to NF4, in float32."""
    model = LlamaForCausalLM.from_pretrained(base)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "proj" in name:
                weight.copy_(dequantize_4bit(*quantize_4bit(weight.bfloat16(), quant_type="nf4")))
    return model


def test_bitsandbytes_is_the_rounded_model_with_and_without_an_adapter(environment: None, base: Path, root: Path):
    """Within the noise of 16 bits, which is far below what rounding to 4 bits, or the adapter, changes."""
    served = Served(settings(base, "bfloat16", "bitsandbytes", adapters={"expert": root / "second"}))
    try:
        plain, expert = (served.score((PROMPT, COMPLETION), k=1, model=name)[0] for name in ("teacher", "expert"))
    finally:
        served.close()
    assert plain.revision == f"{model_files.model_revision(base)}-bitsandbytes"
    rounded = [in_4_bits(base), PeftModel.from_pretrained(in_4_bits(base), root / "second")]
    assert mean_difference(plain, rounded[0]) < 0.4 * mean_difference(plain, LlamaForCausalLM.from_pretrained(base))
    assert mean_difference(expert, rounded[1]) < 0.4 * mean_difference(expert, adapted(base, root / "second"))
    assert mean_difference(expert, rounded[1]) < 0.6 * mean_difference(expert, rounded[0])


def mean_difference(positions: CompletionLogprobs, model: PreTrainedModel) -> float:
    return float(np.abs(errors(positions, model, PROMPT)).mean())


def test_a_replaced_adapter_answers_like_a_fresh_engine_while_requests_finish_on_the_old(
    served: Served, base: Path, root: Path
):
    first = served.engine._settings.adapters["expert"]
    before = served.engine.describe().models[1].revision
    options = GenerateOptions(max_tokens=200, temperature=0)

    async def replace_midway() -> tuple[CompletionLogprobs, list[CompletionLogprobs]]:
        await served.engine.generate("expert", PROMPT, options, 1)  # fills the prefix cache
        llm = served.engine._started()
        running = asyncio.create_task(served.engine.generate("expert", PROMPT, options, 1))
        while not llm.get_num_unfinished_requests():
            await asyncio.sleep(0.001)
        await control(served).put("expert", "second")
        assert not running.done()
        assert set(await llm.list_loras()) == {1, 2}
        new = [
            await served.engine.generate("expert", PROMPT, options, 1),
            await served.engine.generate("expert", PROMPT, options, 1),
            await served.engine.score("expert", PROMPT, COMPLETION, 1),
        ]
        return await running, new

    old, new = served.run(replace_midway())
    after = served.engine.describe().models[1].revision
    assert old.revision == before != after
    assert np.abs(errors(old, adapted(base, first), PROMPT)).max() < 1e-4
    expert = adapted(base, root / "second")
    for positions in new:
        assert positions.revision == after
        assert np.abs(errors(positions, expert, PROMPT)).max() < 1e-4
    assert set(served.run(served.engine._started().list_loras())) == {2}


@pytest.mark.parametrize(
    ("folder", "complaint"),
    [
        ("large", "got rank 16, this teacher was started for ranks up to 8"),
        ("narrow", r"doesn't fit the base's \[128, \d+\]"),
        ("dora", "vLLM can't load .*DoRA"),
        ("nan", "not numbers"),
        (
            "another wrapper",
            r"weights for language_model\.model\.layers\.0\..* and 9 more, but the base has no such",
        ),
        ("no wrapper", r"weights for layers\.0\.mlp\.down_proj"),
        ("other layers", r"weights for model\.h\.0\.mlp\.down_proj"),
        ("other attention", r"weights for model\.layers\.0\.attn\.o_proj"),
        (
            "one layer",
            r"for model\.layers\.1\.attention\.o_proj, model.*q_proj, model.*v_proj, but the base has no",
        ),
        ("tiny", "changes nothing: .* every answer is the base's to the digit"),
    ],
)
def test_an_adapter_that_cannot_be_served_changes_nothing(served: Served, folder: str, complaint: str):
    before = served.score((PROMPT, COMPLETION), k=1, model="expert")[0]
    loaded = served.run(served.engine._started().list_loras())
    with pytest.raises(UserError, match=complaint):
        served.run(control(served).put("expert", folder))
    assert served.run(served.engine._started().list_loras()) == loaded
    again = served.score((PROMPT, COMPLETION), k=1, model="expert")[0]
    assert again.revision == before.revision
    assert again.token_logprobs.tolist() == before.token_logprobs.tolist()


def test_an_adapter_from_before_any_training_is_served_and_said(served: Served, caplog: pytest.LogCaptureFixture):
    served.run(control(served).put("fresh", "untrained"))
    assert "adapter fresh changes nothing: each lora_B" in caplog.text
    served.run(control(served).delete("fresh"))


def test_a_quantization_that_changed_nothing_is_refused(served: Served):
    with pytest.raises(UserError, match="took 'bitsandbytes' and quantized nothing"):
        served.run(check_applied(served.engine._started(), "bitsandbytes"))


def test_an_engine_that_does_not_start_is_one_clear_line(base: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Engine core initialization failed.\nSee root cause above.")

    monkeypatch.setattr(AsyncLLM, "from_engine_args", fail)
    with pytest.raises(UserError, match=r"didn't start on .*: Engine core .* failed. See root cause above.; the log"):
        asyncio.run(VllmEngine(settings(base, "float32")).start())


def test_fp8_on_a_cpu_is_refused(base: Path):
    with pytest.raises(UserError, match="no fp8 on a CPU"):
        engine_args(settings(base, "bfloat16", "fp8", replicas={"num_gpus": 1}), str(base))
