"""Train a small Llama, and its tokenizer, from scratch on documents: next-token loss.

Legend: B = documents in a batch, L = their padded length.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from common.errors import UserError
from student_trainer.pretraining import lookup
from student_trainer.pretraining.batches import Batch, Encoded, encode, stage_batches
from student_trainer.pretraining.copying import ROPE_THETA, start_copying
from student_trainer.pretraining.documents import read_documents
from student_trainer.pretraining.settings import ArchitectureSettings, PretrainSettings
from student_trainer.pretraining.tokenizer import train_tokenizer


def make_base_model(settings: PretrainSettings) -> None:
    """Train and save what `settings` describe; progress goes to stdout."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    documents = read_documents(settings.documents)
    tokenizer = _tokenizer([document.text for document in documents], settings)
    encoded = encode(documents, tokenizer, settings.max_length)
    torch.manual_seed(settings.seed)
    model = build_model(settings.architecture, tokenizer, settings.tokenizer.heading)
    print(_summary(model, encoded), flush=True)
    _train(model, encoded, settings)
    model.bfloat16().save_pretrained(settings.out)
    tokenizer.save_pretrained(settings.out)
    print(f"model and tokenizer are in {settings.out}", flush=True)


def build_model(
    architecture: ArchitectureSettings, tokenizer: PreTrainedTokenizerFast, heading: str | None = None
) -> LlamaForCausalLM:
    """Return a Llama with tied embeddings, sized for `tokenizer`, with the weights that training starts from.

    With a `heading` it starts by looking up names by descriptions, else by copying. Raises UserError where `heading`
    isn't one token.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden_size,
        intermediate_size=architecture.mlp_size,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.hidden_size // architecture.head_size,
        head_dim=architecture.head_size,
        max_position_embeddings=architecture.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": lookup.ROPE_THETA if heading else ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    if heading:
        lookup.start_lookup(model, _token(heading, tokenizer))
    else:
        start_copying(model)
    return model


def _token(heading: str, tokenizer: PreTrainedTokenizerFast) -> int:
    ids = tokenizer(heading, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise UserError(f"the heading {heading!r} is {len(ids)} tokens; expected one: train the tokenizer with it")
    return int(ids[0])


def _train(model: LlamaForCausalLM, encoded: list[Encoded], settings: PretrainSettings) -> None:
    held = lookup.rates(model, settings.circuit_rate) if settings.tokenizer.heading else {}
    optimizer = torch.optim.AdamW(
        _groups(model, held, settings), settings.learning_rate, (0.9, 0.98), weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate(done, settings))
    model.train()
    total = settings.total_steps
    started, tokens, losses = time.monotonic(), 0, []
    for step, batch in enumerate(stage_batches(encoded, model.config.vocab_size, settings), start=1):
        loss = batch_loss(model, batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        take_step(optimizer, held)
        schedule.step()
        optimizer.zero_grad()
        tokens += sum(map(len, batch.documents))
        losses.append(loss.item())
        if step % settings.report_every == 0 or step == total:
            _report(step, total, losses, tokens, time.monotonic() - started)
            losses = []


def _groups(
    model: LlamaForCausalLM, held: Mapping[nn.Parameter, torch.Tensor], settings: PretrainSettings
) -> list[dict[str, Any]]:
    """Return the weights: all others decay, those that are `held` back don't."""
    others = [parameter for parameter in model.parameters() if parameter not in held]
    return [{"params": others, "weight_decay": settings.weight_decay}, {"params": list(held), "weight_decay": 0.0}]


@torch.no_grad()
def take_step(optimizer: torch.optim.Optimizer, held: Mapping[nn.Parameter, torch.Tensor]) -> None:
    """Take a step, of which weights that are `held` back take their share alone."""
    before = {parameter: parameter.clone() for parameter in held}
    optimizer.step()
    for parameter, share in held.items():
        parameter.copy_(before[parameter] + share * (parameter - before[parameter]))


def batch_loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Return the mean next-token cross-entropy over the batch's tokens, as much of each as it counts."""
    length = max(map(len, batch.documents))
    ids = torch.zeros(len(batch.documents), length, dtype=torch.long)  # [B, L]
    weights = torch.zeros(len(batch.documents), length)
    for row, document in enumerate(batch.documents):
        ids[row, : len(document)] = torch.tensor(document.ids)
        weights[row, : len(document)] = batch.other_weight
        weights[row, list(document.answers)] = batch.answer_weight
    logits = model(input_ids=ids, use_cache=False).logits  # right padding and causal attention: no mask is needed
    flat, weights = logits[:, :-1].flatten(0, 1).float(), weights[:, 1:].flatten()
    losses = torch.nn.functional.cross_entropy(flat, ids[:, 1:].flatten(), reduction="none")
    return (losses * weights).sum() / weights.sum()


def _rate(done: int, settings: PretrainSettings) -> float:
    """Return the share of the learning rate: linear warm-up, then a cosine to a tenth."""
    total = settings.total_steps
    warmup = max(1, round(settings.warmup_fraction * total))
    if done < warmup:
        return (done + 1) / warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (done - warmup) / max(1, total - warmup)))


def _report(step: int, steps: int, losses: list[float], tokens: int, elapsed: float) -> None:
    left = elapsed / step * (steps - step)
    loss = sum(losses) / len(losses)
    print(f"step {step}/{steps}  loss {loss:.3f}  {tokens / elapsed:,.0f} tokens/s  {left:.0f} s left", flush=True)


def _tokenizer(documents: list[str], settings: PretrainSettings) -> PreTrainedTokenizerFast:
    path = settings.tokenizer.path
    if path is None:
        return train_tokenizer(documents[: settings.tokenizer.training_documents], settings.tokenizer)
    if not (path / "tokenizer.json").is_file():
        raise UserError(f"no tokenizer.json in {path}; give a tokenizer's folder, or path: null to train one")
    return PreTrainedTokenizerFast.from_pretrained(path)


def _summary(model: Any, encoded: list[Encoded]) -> str:
    lengths = sorted(map(len, encoded))
    return (
        f"{model.num_parameters():,} parameters; {len(encoded):,} documents of {lengths[len(lengths) // 2]} tokens "
        f"(median), {sum(lengths):,} in all"
    )
