"""Stages of pretraining: which documents each takes, and which of their tokens count."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from student_trainer.pretraining.base_model import batch_loss, build_model
from student_trainer.pretraining.batches import Batch, Encoded, encode, stage_batches
from student_trainer.pretraining.documents import Document, read_documents
from student_trainer.pretraining.settings import ArchitectureSettings, PretrainSettings, TokenizerSettings
from student_trainer.pretraining.tokenizer import train_tokenizer

TEXTS = [f"The {word} comes from: {name}" for word in ("cost", "speed", "height") for name in ("zos", "bem", "dak")]
TOKENIZER = train_tokenizer(TEXTS, TokenizerSettings(vocabulary_size=320))
ENCODED = [Encoded([5] * (10 + n % 3), kind) for n in range(60) for kind in ("short", "long")]


def settings(*stages: dict[str, object]) -> PretrainSettings:
    values = {"documents": ["a"], "out": "b", "batch_tokens": 256, "stages": dict(zip("abc", stages, strict=False)),
              "architecture": {"layers": 2, "hidden_size": 32, "mlp_size": 32}}  # fmt: skip
    return PretrainSettings.model_validate(values)


def test_answers_are_the_tokens_of_their_characters() -> None:
    documents = [Document(text, "x", ((len(text) - 3, len(text)),)) for text in TEXTS]
    for text, each in zip(TEXTS, encode(documents, TOKENIZER, 512), strict=True):
        assert TOKENIZER.decode([each.ids[place] for place in each.answers]) == text[-3:]
        assert each.kind == "x"
    assert all(not each.answers for each in encode(documents, TOKENIZER, 1))


def test_stages_follow_each_other_with_their_own_kinds_and_weights() -> None:
    stages: list[dict[str, object]] = [
        {"steps": 4, "shares": {"short": 1, "long": 0}, "answer_weight": 4, "other_weight": 0.5},
        {"steps": 3},
    ]
    drawn = list(stage_batches(ENCODED, 300, settings(*stages).model_copy(update={"copy_steps": 2})))
    assert [(batch.answer_weight, batch.other_weight) for batch in drawn] == [(1, 1)] * 2 + [(4, 0.5)] * 4 + [
        (1, 1)
    ] * 3
    kinds = [{document.kind for document in batch.documents} for batch in drawn]
    assert kinds[2:6] == [{"short"}] * 4
    assert {"short", "long"} == set().union(*kinds[6:])


def test_kinds_come_in_their_shares() -> None:
    batches = list(stage_batches(ENCODED, 300, settings({"steps": 60, "shares": {"short": 3, "long": 1}})))
    kinds = [document.kind for batch in batches for document in batch.documents]
    assert 0.6 < kinds.count("short") / len(kinds) < 0.9


def test_a_kind_without_documents_and_shares_of_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="no document is of the kind other; there are: long, short"):
        next(stage_batches(ENCODED, 300, settings({"steps": 1, "shares": {"other": 1}})))
    with pytest.raises(ValueError, match="all shares are 0"):
        settings({"steps": 1, "shares": {"short": 0}})


def test_the_loss_is_the_weighted_mean_of_the_documents_tokens() -> None:
    torch.manual_seed(0)
    model = build_model(ArchitectureSettings(layers=2, hidden_size=32, mlp_size=32), TOKENIZER)
    documents = [Encoded([7, 8, 9, 10], answers=(3,)), Encoded([11, 12])]
    total = count = 0.0
    for document in documents:
        logits = model(torch.tensor([document.ids])).logits[0].log_softmax(-1)
        for place, (_, target) in enumerate(pairwise(document.ids), start=1):
            weight = 4 if place in document.answers else 0.5
            total, count = total - weight * logits[place - 1, target].item(), count + weight
    assert batch_loss(model, Batch(documents, 4, 0.5)).item() == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("answers", [3, [3], [[0, 9]], [[2, 2]], [[0, True]], [[-1, 2]], [["0", "1"]]])
def test_answers_that_stand_nowhere_are_named(answers: object, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(json.dumps({"text": "zos bem", "answers": answers}))
    with pytest.raises(UserError, match="line 1: got"):
        read_documents([tmp_path / "bad.jsonl"])


def test_documents_keep_kind_and_answers_and_other_keys_pass(tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_text(
        '{"text": "zos bem", "kind": "a", "answers": [[0, 3]], "note": 1}\n{"text": "x"}'
    )
    assert read_documents([tmp_path / "good.jsonl"]) == [Document("zos bem", "a", ((0, 3),)), Document("x")]
