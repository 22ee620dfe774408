"""Small random models for tests: a Llama, its byte-level BPE tokenizer beside it, and LoRA adapters on it."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY_SIZE = 512
CPU_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""What vLLM's process needs on a small CPU machine: one thread, no compilation, no worker process of its own."""
_TEXT = [
    "Thought: I need the weather in Paris, so I call the forecast API with the city name.",
    'Action: forecast_for_weather_hub\nAction Input: {"city": "Paris", "days": 3}',
    "Function: the observation holds an error and a response. Finish: give_answer, final_answer.",
    "System: You are AutoGPT, you can use many tools to do the following task. Begin! User: Assistant:",
]


def save_tiny_tokenizer(path: Path, vocabulary_size: int = VOCABULARY_SIZE) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on a few lines and save it in `path`; at most `vocabulary_size` ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=["<|pad|>", "<|eos|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|eos|>")
    fast.save_pretrained(path)
    return fast


def save_tiny_llama(path: Path, seed: int = 0, **sizes: Any) -> Path:
    """Save a random 3-layer Llama (fp32) and its tokenizer in `path`. `sizes` override fields of LlamaConfig.

    Weights are drawn wide enough for distributions to be peaked: ranks are clear, and a shifted position shows.
    """
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = save_tiny_tokenizer(path)
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 2048,
        "initializer_range": 0.12,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(**(fields | sizes))).save_pretrained(path)
    return path


def save_tiny_adapter(path: Path, base: Path, seed: int = 1, rank: int = 4) -> Path:
    """Save a random LoRA adapter for the model in `base`; both of its factors are drawn, so it changes the answers."""
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj", "o_proj", "down_proj"])
    model = get_peft_model(LlamaForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    model.save_pretrained(path)
    return path
