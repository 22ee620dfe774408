"""What a started engine says about itself, beside its models: the card of `GET /v1/teacher`."""

from importlib.metadata import version

import vllm
from transformers import PreTrainedTokenizerFast
from vllm.config import ModelConfig

from common import VERSION, wire
from common.api import TeacherCard
from common.fingerprints import chat_template_fingerprint, tokenizer_fingerprint
from common.render import terminator, terminators
from teacher_server.settings import TeacherServerSettings


def make_card(settings: TeacherServerSettings, config: ModelConfig, tokenizer: PreTrainedTokenizerFast) -> TeacherCard:
    """The card of the base model that vLLM runs with `config`; `models`, which change, are left empty.

    Raises UserError when the tokenizer's chat template can't be used as `tool_layout` wants it.
    """
    vocabulary_size, replicas = config.get_vocab_size(), settings.replicas
    if settings.tool_layout is not None:
        terminator(tokenizer, settings.tool_layout)
    return TeacherCard(
        models=[],
        tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
        chat_template_fingerprint=chat_template_fingerprint(tokenizer),
        terminators=terminators(tokenizer),
        end_token_ids=end_token_ids(config, tokenizer),
        vocabulary_size=vocabulary_size,
        max_top_k=min(settings.engine.max_top_k, vocabulary_size),
        max_length=settings.engine.max_length,
        abilities=["score", "generate"],
        dtype=str(config.dtype).removeprefix("torch."),
        versions={
            "wire": str(wire.SCHEMA_VERSION),
            "toolagent-kd": VERSION,
            "ray": version("ray"),
            "vllm": str(vllm.__version__),
        },
        tool_layout=settings.tool_layout,
        replicas=replicas.count if replicas.autoscaling is None else None,
    )


def end_token_ids(config: ModelConfig, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """All ids that vLLM ends a completion at: the tokenizer's end of sequence, and those of generation_config.json."""
    configured = config.try_get_generation_config().get("eos_token_id")
    ends = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    return sorted(end for end in ends if end is not None)
