"""Documents as tokens, and the batches that each stage of pretraining takes."""

from collections import Counter
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import NamedTuple, TypeVar

from transformers import PreTrainedTokenizerFast

from common.errors import UserError
from student_trainer.pretraining.documents import Document
from student_trainer.pretraining.settings import PretrainSettings
from student_trainer.pretraining.tokenizer import EOS

_WINDOW = 512
"""Documents among which those of like length are put together."""
_SLICE = 1000
"""Documents tokenized at once."""
T = TypeVar("T", bound=Sized)


@dataclass(frozen=True)
class Encoded:
    """A document's tokens, and the places of those that hold a part of an answer."""

    ids: list[int]
    kind: str = ""
    answers: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


class Batch(NamedTuple):
    """Documents for one optimizer step, and how much the tokens of answers and all others count."""

    documents: list[Encoded]
    answer_weight: float = 1
    other_weight: float = 1


def encode(documents: Sequence[Document], tokenizer: PreTrainedTokenizerFast, max_length: int) -> list[Encoded]:
    """Tokenize documents, each with EOS, and cut them to `max_length` tokens."""
    encoded = []
    for start in range(0, len(documents), _SLICE):
        some = documents[start : start + _SLICE]
        read = tokenizer([each.text + EOS for each in some], return_offsets_mapping=True)
        for document, ids, offsets in zip(some, read["input_ids"], read["offset_mapping"], strict=True):
            answers = _answer_tokens(document.answers, offsets[:max_length])
            encoded.append(Encoded(ids[:max_length], document.kind, answers))
    return encoded


def _answer_tokens(answers: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return which tokens overlap one of `answers`."""
    inside = {character for first, end in answers for character in range(first, end)}
    return tuple(place for place, (first, end) in enumerate(offsets) if inside & {*range(first, end)})


def stage_batches(encoded: Sequence[Encoded], vocabulary: int, settings: PretrainSettings) -> Iterator[Batch]:
    """Yield the batches of the whole training: first those of copying, then each stage's.

    Raises UserError where a stage wants a kind of which there are no documents.
    """
    seed, size, stages = settings.seed, settings.batch_tokens, settings.stages.values()
    chosen = [in_shares(encoded, stage.shares, seed + number) for number, stage in enumerate(stages)]
    copies = islice(copy_batches(vocabulary, size, seed), settings.copy_steps)
    yield from (Batch([Encoded(ids) for ids in batch]) for batch in copies)
    for number, (stage, documents) in enumerate(zip(stages, chosen, strict=True)):
        for batch in islice(batches(documents, size, seed + number), stage.steps):
            yield Batch(batch, stage.answer_weight, stage.other_weight)


def in_shares(encoded: Sequence[Encoded], shares: dict[str, float], seed: int) -> Sequence[Encoded]:
    """Draw as many documents as there are, with replacement, the kinds in these shares; all of them without shares.

    Raises UserError where a kind has a share, but no documents.
    """
    counts = Counter(each.kind for each in encoded)
    missing = sorted(kind for kind, share in shares.items() if share and not counts[kind])
    if missing:
        known = ", ".join(filter(None, sorted(counts))) or "none that say their kind"
        raise UserError(f"no document is of the kind {', '.join(missing)}; there are: {known}")
    if not shares:
        return encoded
    weights = [shares.get(each.kind, 0) / counts[each.kind] for each in encoded]
    return Random(f"{seed} shares").choices(encoded, weights, k=len(encoded))


def batches(encoded: Sequence[T], batch_tokens: int, seed: int) -> Iterator[list[T]]:
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


def _fill(documents: list[T], batch_tokens: int) -> list[list[T]]:
    """Cut documents, shortest first, into batches of at most `batch_tokens` padded tokens."""
    groups: list[list[T]] = [[]]
    for document in documents:
        if groups[-1] and (len(groups[-1]) + 1) * len(document) > batch_tokens:
            groups.append([])
        groups[-1].append(document)
    return groups
