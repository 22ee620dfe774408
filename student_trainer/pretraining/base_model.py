"""Train a small Llama, and its tokenizer, from scratch on documents: next-token loss on everything.

Legend: B = documents in a batch, L = their padded length.
"""

import math
import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from random import Random
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from common.errors import UserError
from student_trainer.pretraining import lookup
from student_trainer.pretraining.copying import ROPE_THETA, start_copying
from student_trainer.pretraining.documents import read_documents
from student_trainer.pretraining.settings import ArchitectureSettings, PretrainSettings
from student_trainer.pretraining.tokenizer import EOS, train_tokenizer

_IGNORED = -100
_WINDOW = 512
"""Documents among which those of like length are put together."""


def make_base_model(settings: PretrainSettings) -> None:
    """Train and save what `settings` describe; progress goes to stdout."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    documents = read_documents(settings.documents)
    tokenizer = _tokenizer(documents, settings)
    encoded = [ids[: settings.max_length] for ids in tokenizer([text + EOS for text in documents])["input_ids"]]
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


def batches(encoded: Sequence[list[int]], batch_tokens: int, seed: int) -> Iterator[list[list[int]]]:
    """Yield batches without end, documents of like length together; every epoch has an order of its own."""
    epoch = 0
    while True:
        rng = Random(f"{seed} {epoch}")
        order = rng.sample(range(len(encoded)), len(encoded))
        for start in range(0, len(order), _WINDOW):
            window = sorted(order[start : start + _WINDOW], key=lambda index: len(encoded[index]))
            groups = _fill([encoded[index] for index in window], batch_tokens)
            yield from rng.sample(groups, len(groups))
        epoch += 1


def copy_batches(vocabulary: int, batch_tokens: int, seed: int) -> Iterator[list[list[int]]]:
    """Yield batches without end of sequences in which a run of random tokens repeats, now sooner and now later."""
    rng = Random(f"{seed} copies")
    while True:
        period, length = rng.randint(8, 48), rng.choice((64, 128, 256))
        runs = [[rng.randrange(vocabulary) for _ in range(period)] for _ in range(max(1, batch_tokens // length))]
        yield [(run * (length // period + 1))[:length] for run in runs]


def _fill(documents: list[list[int]], batch_tokens: int) -> list[list[list[int]]]:
    """Cut documents, shortest first, into batches of at most `batch_tokens` padded tokens."""
    groups: list[list[list[int]]] = [[]]
    for ids in documents:
        if groups[-1] and (len(groups[-1]) + 1) * len(ids) > batch_tokens:
            groups.append([])
        groups[-1].append(ids)
    return groups


def _train(model: LlamaForCausalLM, encoded: list[list[int]], settings: PretrainSettings) -> None:
    optimizer = torch.optim.AdamW(
        _groups(model, settings), settings.learning_rate, (0.9, 0.98), weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate(done, settings))
    model.train()
    total = settings.copy_steps + settings.steps
    drawn = chain(
        islice(copy_batches(model.config.vocab_size, settings.batch_tokens, settings.seed), settings.copy_steps),
        islice(batches(encoded, settings.batch_tokens, settings.seed), settings.steps),
    )
    started, tokens, losses = time.monotonic(), 0, []
    for step, batch in enumerate(drawn, start=1):
        loss = _loss(model, batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        tokens += sum(map(len, batch))
        losses.append(loss.item())
        if step % settings.report_every == 0 or step == total:
            _report(step, total, losses, tokens, time.monotonic() - started)
            losses = []


def _groups(model: LlamaForCausalLM, settings: PretrainSettings) -> list[dict[str, Any]]:
    """Return the weights by learning rate: those of the circuit that initial weights hold, and all others."""
    held = lookup.circuit(model) if settings.tokenizer.heading else []
    others = [parameter for parameter in model.parameters() if all(parameter is not each for each in held)]
    rate = settings.learning_rate
    return [{"params": others, "lr": rate}, {"params": held, "lr": settings.circuit_rate * rate, "weight_decay": 0.0}]


def _loss(model: LlamaForCausalLM, batch: list[list[int]]) -> torch.Tensor:
    """Return the mean next-token cross-entropy over the batch's tokens."""
    length = max(map(len, batch))
    ids = torch.tensor([document + [0] * (length - len(document)) for document in batch])  # [B, L]
    lengths = torch.tensor([len(document) for document in batch])
    targets = ids.masked_fill(torch.arange(length) >= lengths[:, None], _IGNORED)
    logits = model(input_ids=ids, use_cache=False).logits  # right padding and causal attention: no mask is needed
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets[:, 1:].flatten())


def _rate(done: int, settings: PretrainSettings) -> float:
    """Return the share of the learning rate: linear warm-up, then a cosine to a tenth."""
    total = settings.copy_steps + settings.steps
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


def _summary(model: Any, encoded: list[list[int]]) -> str:
    lengths = sorted(map(len, encoded))
    return (
        f"{model.num_parameters():,} parameters; {len(encoded):,} documents of {lengths[len(lengths) // 2]} tokens "
        f"(median), {sum(lengths):,} in all"
    )
