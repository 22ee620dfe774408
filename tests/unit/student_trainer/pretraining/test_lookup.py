"""The initial weights that find a function's name by a word of its description."""

from random import Random
from statistics import fmean

import pytest
import torch

from common.errors import UserError
from student_trainer.pretraining.base_model import build_model
from student_trainer.pretraining.settings import ArchitectureSettings, TokenizerSettings
from student_trainer.pretraining.tokenizer import train_tokenizer

HEADING = "{'name': '"
NAMES = [f"{onset}{vowel}r" for onset in "bdfgk" for vowel in "aeiou"]
WORDS = [f"{onset}{vowel}ng" for onset in "mnpst" for vowel in "aeiou"]
FOUR_LAYERS = ArchitectureSettings(layers=4, hidden_size=128, mlp_size=64)


def offer(rng: Random) -> tuple[str, list[str], list[str]]:
    """Four functions as a prompt lists them, with their names and what they tell."""
    names, words = rng.sample(NAMES, 4), rng.sample(WORDS, 4)
    offered = ", ".join(
        f"{HEADING}{name}', 'description': 'Tells the {word} of it'}}" for name, word in zip(names, words, strict=True)
    )
    return f"[{offered}]\n", names, words


DOCUMENTS = [offer(Random(seed))[0] for seed in range(60)]
TOKENIZER = train_tokenizer(DOCUMENTS, TokenizerSettings(vocabulary_size=420, heading=HEADING))


def test_the_heading_is_one_token_wherever_it_stands() -> None:
    [heading] = TOKENIZER(HEADING)["input_ids"]
    for text in DOCUMENTS[:5]:
        ids = TOKENIZER(text)["input_ids"]
        assert ids.count(heading) == 4
        assert TOKENIZER.decode(ids) == text


def test_heads_of_an_untrained_model_look_from_word_to_description_and_from_there_to_the_name() -> None:
    torch.manual_seed(0)
    model = build_model(FOUR_LAYERS, TOKENIZER, HEADING)
    model.set_attn_implementation("eager")
    carried, matched = [], []
    for seed in range(30):
        text, names, words = offer(Random(100 + seed))
        ids = TOKENIZER(f"{text} {words[seed % 4]}")["input_ids"]
        name, described = ids.index(TOKENIZER(names[seed % 4])["input_ids"][0]), ids.index(ids[-1])
        with torch.no_grad():
            attentions = model(torch.tensor([ids]), output_attentions=True).attentions
        carried.append(attentions[1][0, -1, described, name].item())
        matched.append(attentions[2][0, :2, -1, described].mean().item())
    assert fmean(carried) > 0.4
    assert fmean(matched) > 0.7


def test_a_heading_of_several_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="expected one: train the tokenizer with it"):
        build_model(FOUR_LAYERS, TOKENIZER, "Tells the name")
