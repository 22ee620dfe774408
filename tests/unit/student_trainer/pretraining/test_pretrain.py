"""Pretraining: the tokenizer, the batches, a model that learns, and the committed base models."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from common import settings as common_settings
from common.errors import UserError
from common.fingerprints import tokenizer_fingerprint
from common.render import load_tokenizer
from student_trainer.commands.pretrain import main, pretrain
from student_trainer.pretraining.base_model import build_model
from student_trainer.pretraining.batches import batches, copy_batches
from student_trainer.pretraining.documents import read_documents
from student_trainer.pretraining.settings import ArchitectureSettings, PretrainSettings, TokenizerSettings
from student_trainer.pretraining.tokenizer import train_tokenizer

CONFIGS = Path("student_trainer/configs")
BASES = Path("student_trainer/base_models")
LINE = "The same long line stands at the head of every document, word for word."
ONE_STEP = {"all": {"steps": 1}}
NAMES = ("kamo", "lita", "rasu", "debo", "fino")
DOCUMENTS = [f"System: {LINE}\nget_{a}_for_{b} has '{a}' and \"{b}\" or {a}" for a in NAMES for b in NAMES] * 4


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS))
    return path


def small(corpus: Path, out: Path, **changes: object) -> PretrainSettings:
    values = {
        "documents": [corpus], "out": out, "stages": {"all": {"steps": 30}}, "batch_tokens": 512,
        "learning_rate": 0.02, "seed": 1, "threads": 1, "tokenizer": {"vocabulary_size": 330},
        "architecture": {"layers": 2, "hidden_size": 32, "mlp_size": 32},
    }  # fmt: skip
    return PretrainSettings.model_validate(values | changes)


def test_any_text_survives_the_tokenizer() -> None:
    tokenizer = train_tokenizer(DOCUMENTS, TokenizerSettings(vocabulary_size=300))
    assert 290 <= len(tokenizer) <= 300
    for text in (*DOCUMENTS[:3], "\nThought: été 12\n\n  {'a': \"b\"} </s>x", LINE + LINE, "日本"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_a_line_of_every_document_is_one_token() -> None:
    tokenizer = train_tokenizer(DOCUMENTS, TokenizerSettings(vocabulary_size=330))
    assert len(tokenizer(LINE)["input_ids"]) == 1
    without = train_tokenizer(DOCUMENTS, TokenizerSettings(vocabulary_size=330, most_phrases=0))
    assert len(without(LINE)["input_ids"]) > 10


def test_a_name_is_the_same_tokens_wherever_it_stands() -> None:
    tokenizer = train_tokenizer(DOCUMENTS, TokenizerSettings(vocabulary_size=330))
    name = tokenizer("Kamo")["input_ids"]
    for text in ("of Kamo.", '{"city": "Kamo"}', "'Kamo'", "_Kamo_", "\nKamo\n"):
        ids = tokenizer(text)["input_ids"]
        assert any(ids[start : start + len(name)] == name for start in range(len(ids)))


def test_the_chat_template_knows_the_four_roles() -> None:
    tokenizer = train_tokenizer(DOCUMENTS, TokenizerSettings(vocabulary_size=330))
    turns = [{"role": role, "content": f"<{role}>"} for role in ("system", "user", "assistant", "tool")]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == "System: <system>\nUser: <user>\nAssistant: <assistant></s>\nFunction: <tool>\nAssistant: "


def test_every_document_comes_once_an_epoch_within_the_token_budget() -> None:
    encoded = [[index] * (1 + index % 40) for index in range(700)]
    drawn: list[int] = []
    for batch in batches(encoded, 200, seed=0):
        assert len(batch) * max(map(len, batch)) <= 200
        drawn += [document[0] for document in batch]
        if len(drawn) >= 700:
            break
    assert sorted(drawn) == list(range(700))
    first, other = (list(islice(batches(encoded, 200, seed), 3)) for seed in (0, 1))
    assert first != other


def test_copied_tokens_repeat_after_a_period() -> None:
    for batch in islice(copy_batches(300, 512, seed=0), 5):
        assert sum(map(len, batch)) <= 512
        assert all(any(row[p:] == row[:-p] for p in range(8, 49)) for row in batch)


def test_a_model_starts_by_favouring_what_followed_before() -> None:
    tokenizer = train_tokenizer(DOCUMENTS, TokenizerSettings(vocabulary_size=330))
    torch.manual_seed(0)
    model = build_model(ArchitectureSettings(layers=2, hidden_size=128, mlp_size=64), tokenizer)
    ids = torch.randint(len(tokenizer), (8, 12)).repeat(1, 3)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    assert losses[:, 12:].mean() < losses[:, :11].mean() - 0.3


def test_pretraining_learns_and_repeats_itself_to_the_bit(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(small(corpus, tmp_path / "a", report_every=5))
    losses = [
        float(line.split("loss ")[1].split()[0]) for line in capsys.readouterr().out.splitlines() if "loss" in line
    ]
    assert losses[-1] < 0.5 * losses[0]
    pretrain(small(corpus, tmp_path / "b"))
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    model = LlamaForCausalLM.from_pretrained(tmp_path / "a")
    assert model.dtype == torch.bfloat16
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_an_existing_tokenizer_is_taken_as_it_is(corpus: Path, tmp_path: Path) -> None:
    pretrain(small(corpus, tmp_path / "a", stages=ONE_STEP))
    pretrain(small(corpus, tmp_path / "b", stages=ONE_STEP, tokenizer={"path": tmp_path / "a"}))
    fingerprints = {tokenizer_fingerprint(load_tokenizer(tmp_path / name)) for name in "ab"}
    assert len(fingerprints) == 1
    with pytest.raises(UserError, match=r"no tokenizer.json in"):
        pretrain(small(corpus, tmp_path / "c", tokenizer={"path": tmp_path / "nowhere"}))


@pytest.mark.parametrize("line", ["not JSON", "[1]", '{"words": "x"}', '{"text": 3}'])
def test_a_bad_document_is_named(corpus: Path, line: str) -> None:
    with corpus.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=f"line {len(DOCUMENTS) + 1}"):
        read_documents([corpus])


def test_missing_documents_are_said(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match="got no documents"):
        read_documents([tmp_path / "empty.jsonl"])
    with pytest.raises(UserError, match=r"nowhere.jsonl"):
        read_documents([tmp_path / "nowhere.jsonl"])
    with pytest.raises(UserError, match="can't read the settings file"):
        main([str(tmp_path / "nowhere.yaml")])


def test_heads_must_fill_the_hidden_size() -> None:
    with pytest.raises(ValueError, match="no multiple of head_size"):
        ArchitectureSettings(layers=2, hidden_size=100, mlp_size=64)


@pytest.mark.parametrize("name", ["teacher", "student", "coded-teacher", "coded-student"])
def test_the_committed_models_are_what_their_settings_say(name: str) -> None:
    settings = common_settings.load(PretrainSettings, CONFIGS / f"pretrain-{name}.yaml")
    assert settings.out == BASES / name
    model = LlamaForCausalLM.from_pretrained(BASES / name)
    assert model.config.num_hidden_layers == settings.architecture.layers
    assert model.config.hidden_size == settings.architecture.hidden_size
    assert model.config.vocab_size == len(load_tokenizer(BASES / name))
    assert model.dtype == torch.bfloat16


@pytest.mark.parametrize("pair", [("teacher", "student"), ("coded-teacher", "coded-student")])
def test_teacher_and_student_share_a_tokenizer(pair: tuple[str, str]) -> None:
    assert len({tokenizer_fingerprint(load_tokenizer(BASES / name)) for name in pair}) == 1


def test_the_committed_models_are_small() -> None:
    assert sum(file.stat().st_size for file in BASES.rglob("*") if file.is_file()) <= 12_000_000
