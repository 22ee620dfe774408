"""Which pairs of tokenizers the handshake lets meet, by real tokenizers of several families, built small."""

import asyncio
import json
from collections.abc import Callable
from functools import cache

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from common.fingerprints import chat_template_fingerprint, tokenizer_fingerprint
from common.render import Renderer, Template, terminators
from common.teacher_client.handshake import Handshake, HandshakeError, Revisions
from common.teacher_client.settings import TeacherClientSettings
from tests.unit.student_trainer.stand_in import StandInTeacher

TEXT = ["Thought: look it up\nAction: forecast_for_weather\nAction Input: {}", "In 2026 it rained 1234 mm."] * 4
SETTINGS = TeacherClientSettings(url="http://a", model="teacher", top_k=4)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|end|>", "<|im_start|>", "<|im_end|>"]
Family = Callable[[], Tokenizer]


def byte_level(digits: str = r"\p{N}{1,3}", vocabulary: int = 400) -> Tokenizer:
    """As Llama 3's and Qwen's: byte-level BPE over pieces that a regular expression cuts."""
    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(rf" ?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pieces, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def metaspace() -> Tokenizer:
    """As Llama 2's: BPE over words that begin with ▁."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", *SPECIAL]))
    return tokenizer


def unigram() -> Tokenizer:
    """As T5's: a unigram model, trained once, since its training isn't repeatable."""
    return Tokenizer.from_str(_unigram())


@cache
def _unigram() -> str:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>", *SPECIAL], unk_token="<unk>")
    tokenizer.train_from_iterator(TEXT, trainer)
    return str(tokenizer.to_str())


def wrapped(backend: Tokenizer, eos: str = "<|end|>", template: str | None = CHATML) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    tokenizer.chat_template = template
    return tokenizer


def meet(
    teacher: PreTrainedTokenizerFast, student: PreTrainedTokenizerFast, template: Template, vocabulary_size: int = 999
) -> None:
    card = {
        "tokenizer_fingerprint": tokenizer_fingerprint(teacher),
        "chat_template_fingerprint": chat_template_fingerprint(teacher),
        "terminators": terminators(teacher),
        "vocabulary_size": vocabulary_size,
    }
    stand_in = StandInTeacher(**card)
    handshake = Handshake(SETTINGS, Renderer(student, template, None), 128, [list(range(20, 60))], Revisions("stop"))

    async def check() -> None:
        await handshake.check("http://a", stand_in, await stand_in.teacher())

    asyncio.run(check())


FAMILIES: list[Family] = [byte_level, metaspace, unigram]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("template", ["toolbench", "chat"])
def test_a_family_meets_itself_and_none_of_the_others(family: Family, template: Template):
    meet(wrapped(family()), wrapped(family()), template)
    for other in FAMILIES:
        if other is not family:
            with pytest.raises(HandshakeError, match="its tokenizer is"):
                meet(wrapped(family()), wrapped(other()), template)


def test_a_base_student_and_an_instruct_teacher_meet_where_the_template_in_use_is_the_same():
    base, instruct = wrapped(byte_level(), template=None), wrapped(byte_level())
    reworded = wrapped(byte_level(), template="{# version 2 #}" + CHATML)
    meet(instruct, base, "toolbench")
    meet(instruct, reworded, "toolbench")
    with pytest.raises(HandshakeError, match=r"its chat template is \w{12}…, the student's \w{12}…: put the same"):
        meet(instruct, reworded, "chat")


def test_another_end_of_turn_under_the_template_in_use_is_refused_and_only_there():
    one, other = wrapped(byte_level(), eos="<|end|>"), wrapped(byte_level(), eos="<|im_end|>")
    with pytest.raises(HandshakeError, match=r"ends with token \d+ under its template toolbench, with \d+ under the"):
        meet(one, other, "toolbench")
    meet(one, other, "chat")  # ChatML ends a turn with <|im_end|> on both sides


def changed(change: Callable[[dict[str, object]], None]) -> Tokenizer:
    """The byte-level tokenizer with its JSON changed."""
    values = json.loads(byte_level().to_str())
    change(values)
    return Tokenizer.from_str(json.dumps(values))


def swap_merges(values: dict[str, object]) -> None:
    model = values["model"]
    assert isinstance(model, dict)
    model["merges"][0], model["merges"][1] = model["merges"][1], model["merges"][0]


@pytest.mark.parametrize(
    "other",
    [lambda: byte_level(digits=r"\p{N}"), lambda: byte_level(vocabulary=270), lambda: changed(swap_merges)],
    ids=["digits one by one", "fewer entries", "merges in another order"],
)
def test_what_gives_a_text_other_ids_is_refused(other: Family):
    with pytest.raises(HandshakeError, match="the same ids must mean the same text"):
        meet(wrapped(byte_level()), wrapped(other()), "toolbench")


def test_what_changes_no_ids_is_no_difference():
    padded, bos = byte_level(), byte_level()
    padded.enable_padding(pad_id=0, pad_token="<|end|>")
    bos.post_processor = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    for other in (padded, bos):
        meet(wrapped(byte_level()), wrapped(other), "toolbench")
    meet(wrapped(byte_level()), wrapped(byte_level()), "toolbench", vocabulary_size=1024)  # padded output layers


def test_a_further_token_is_a_difference():
    more = byte_level()
    more.add_special_tokens([AddedToken("<tool>", special=True)])
    with pytest.raises(HandshakeError, match="its tokenizer is"):
        meet(wrapped(more), wrapped(byte_level()), "toolbench")
