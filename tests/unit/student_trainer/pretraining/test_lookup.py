"""The initial weights that find a function's name by a word of its description."""

from random import Random
from statistics import fmean

import pytest
import torch

from common.errors import UserError
from student_trainer.pretraining.base_model import build_model, take_step
from student_trainer.pretraining.lookup import rates
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


def test_an_untrained_model_finds_the_name_by_a_word_of_its_description() -> None:
    """Heads look from the word to the description and from there to the name, which is then the likeliest of those."""
    torch.manual_seed(0)
    model = build_model(FOUR_LAYERS, TOKENIZER, HEADING)
    model.set_attn_implementation("eager")
    carried, matched, right = [], [], []
    for seed in range(30):
        text, names, words = offer(Random(100 + seed))
        asked = TOKENIZER(f"{text} {words[seed % 4]}")["input_ids"]
        ids = [*asked, *TOKENIZER(" of it\n")["input_ids"]]  # as many tokens as a line's end, a label and its colon
        first = [TOKENIZER(each)["input_ids"][0] for each in names]
        name, word = ids.index(first[seed % 4]), len(asked) - 1
        described = ids.index(ids[word])
        with torch.no_grad():
            found = model(torch.tensor([ids]), output_attentions=True)
        carried.append(found.attentions[1][0, -1, described, name].item())
        matched.append(found.attentions[2][0, :2, word, described].mean().item())
        right.append(found.logits[0, -1, first].argmax().item() == seed % 4)
    assert fmean(carried) > 0.6
    assert fmean(matched) > 0.7
    assert fmean(right) > 0.6


def test_the_other_heads_look_at_what_followed_the_same_token_before() -> None:
    torch.manual_seed(0)
    model = build_model(FOUR_LAYERS, TOKENIZER, HEADING)
    model.set_attn_implementation("eager")
    ids = Random(0).sample(range(300, len(TOKENIZER)), 24)
    with torch.no_grad():
        attentions = model(torch.tensor([ids + ids]), output_attentions=True).attentions
    assert fmean(attentions[2][0, 2:, place, place - 23].mean().item() for place in range(24, 47)) > 0.5


def test_the_circuit_learns_slower_than_all_else() -> None:
    torch.manual_seed(0)
    model = build_model(FOUR_LAYERS, TOKENIZER, HEADING)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    held = rates(model, 0.1)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    take_step(optimizer, held)
    moved = {name: before[name] - weight.detach() for name, weight in model.named_parameters()}
    third = moved["model.layers.2.self_attn.q_proj.weight"][:, 0]
    assert torch.allclose(third, torch.tensor([0.1] * 64 + [0.3] * 64), atol=1e-5)  # two heads match, two copy
    assert torch.allclose(
        moved["model.layers.3.self_attn.o_proj.weight"][0, [0, 32]], torch.tensor([0.1, 1.0]), atol=1e-5
    )
    assert torch.allclose(moved["model.embed_tokens.weight"], torch.tensor(0.1), atol=1e-5)
    assert torch.allclose(moved["model.layers.3.mlp.up_proj.weight"], torch.tensor(1.0), atol=1e-5)


def test_a_heading_of_several_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="expected one: train the tokenizer with it"):
        build_model(FOUR_LAYERS, TOKENIZER, "Tells the name")
