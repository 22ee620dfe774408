"""Quantized weights: asked of vLLM where it can, and seen in its layers, since it accepts names that change nothing."""

from importlib.util import find_spec
from typing import get_args

from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM

from common.errors import UserError
from teacher_server.settings import EngineSettings, Quantization

LAYER_METHODS = {"bitsandbytes": "quant=BitsAndBytes", "fp8": "quant=Fp8"}
"""How vLLM's own description of a model begins the name of what its quantized layers do."""
assert LAYER_METHODS.keys() == set(get_args(Quantization))


def check_supported(engine: EngineSettings) -> None:
    """Raises UserError when this machine can't quantize so."""
    if engine.quantization == "fp8" and current_platform.is_cpu():
        raise UserError("engine.quantization: vLLM has no fp8 on a CPU; use bitsandbytes there, or none")
    if engine.quantization == "bitsandbytes" and find_spec("vllm_bnb_plugin") is None:
        raise UserError("engine.quantization: bitsandbytes needs the package vllm-bnb-plugin where the teacher runs")


async def check_applied(llm: AsyncLLM, quantization: Quantization | None) -> None:
    """Raises UserError when a worker of the started engine holds no layer that is quantized as asked."""
    if quantization is None:
        return
    for description in await llm.collective_rpc("get_model_inspection"):
        if LAYER_METHODS[quantization] not in description:
            raise UserError(
                f"engine.quantization: vLLM took {quantization!r} and quantized nothing with it; "
                "serve this model without, or in another quantization"
            )
