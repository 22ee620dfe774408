"""The renderer: exact strings, the completion alone as target, special tokens only where the template puts them."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from common.errors import UserError
from common.fingerprints import chat_template_fingerprint, tokenizer_fingerprint
from common.render import Renderer, load_renderer, load_tokenizer, terminators
from common.toolbench.rows import PromptRow, Turn
from common.unusable_rows import DoesNotFit
from tests.unit.common.conftest import SPECIAL

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from([*SPECIAL, "\n", " "])


@pytest.fixture
def renderer(tokenizer: PreTrainedTokenizerFast) -> Renderer:
    return Renderer(tokenizer, "toolbench", None)


def expected_prompt(row: PromptRow) -> str:
    """ToolBench's own single-round layout: roles and values joined by newlines."""
    roles = {"system": "System", "user": "User", "function": "Function", "assistant": "Assistant"}
    return "".join(f"{roles[turn.role]}: {turn.content}\n" for turn in row.turns) + "Assistant: "


def test_the_exact_string_and_mask(renderer: Renderer, tokenizer: PreTrainedTokenizerFast, row: PromptRow):
    sequence = renderer.sequence(row)
    assert tokenizer.decode(sequence.prompt_ids) == expected_prompt(row)
    assert tokenizer.decode(sequence.completion_ids) == f"{row.completion}</s>"
    assert (sequence.id, sequence.provenance, sequence.finish_reason) == (row.id, "dataset", "stop")
    ids = sequence.prompt_ids + sequence.completion_ids
    assert tokenizer.decode([ids[at] for at in sequence.completion_positions]) == f"{row.completion}</s>"


def test_training_and_inference_see_the_same_ids(renderer: Renderer, row: PromptRow):
    sequence = renderer.sequence(row)
    assert [*renderer.prompt_ids(row), *renderer.completion_ids(row.completion or "")] == [
        *sequence.prompt_ids,
        *sequence.completion_ids,
    ]
    assert renderer.prompt_ids(replace(row, completion=None)) == list(sequence.prompt_ids)


def test_the_next_steps_prompt_holds_this_completion_id_by_id(renderer: Renderer, row: PromptRow):
    ids = [*renderer.prompt_ids(row), *renderer.completion_ids(row.completion or "")[:-1]]
    after = (*row.turns, Turn("assistant", row.completion or ""), Turn("function", "seen"))
    following = renderer.prompt_ids(replace(row, turns=after))
    assert following[: len(ids)] == ids
    assert "Action: Finish\nAction Input: " in renderer.text(following)


def test_the_terminator_stays_where_pad_is_eos(tokenizer: PreTrainedTokenizerFast, renderer: Renderer):
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert renderer.completion_ids("x")[-1] == tokenizer.eos_token_id
    assert renderer.stop_token_ids == [tokenizer.eos_token_id]


@given(contents=st.lists(words, min_size=2, max_size=4), completion=words)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_and_makes_no_special_token(renderer: Renderer, contents: list[str], completion: str):
    row = PromptRow("r", "q", tuple(Turn("function", content) for content in contents), completion, "t", 1, "g")
    sequence = renderer.sequence(row)
    assert renderer.text(sequence.prompt_ids) == expected_prompt(row)
    assert renderer.text(sequence.completion_ids) == completion
    assert not {*sequence.prompt_ids, *sequence.completion_ids[:-1]} & set(range(len(SPECIAL)))


@pytest.mark.parametrize(
    ("files", "ends"),
    [
        ({}, {1}),
        ({"config.json": 2}, {1, 2}),
        ({"config.json": [1, 3]}, {1, 3}),
        ({"config.json": 3, "generation_config.json": [1, 2]}, {1, 2}),
        ({"config.json": 3, "generation_config.json": None}, {1}),
    ],
)
def test_all_ends_of_a_model_end_a_completion(
    tokenizer_folder: Path, tmp_path: Path, files: dict[str, object], ends: set[int]
):
    shutil.copytree(tokenizer_folder, tmp_path, dirs_exist_ok=True)
    for name, eos in files.items():
        (tmp_path / name).write_text(json.dumps({"eos_token_id": eos}))
    renderer = load_renderer(str(tmp_path), "toolbench", None)
    ids = renderer.completion_ids("Action: x")[:-1]
    assert set(renderer.stop_token_ids) == ends
    assert {end for end in (1, 2, 3) if renderer.text([*ids, end]) == "Action: x"} == ends


def test_a_cut_completion_keeps_its_last_token(renderer: Renderer):
    ids = renderer.completion_ids("Action: x")
    assert renderer.text(ids) == renderer.text(ids[:-1]) == "Action: x"


@pytest.mark.parametrize("spare", [-1, 0])
def test_a_row_that_does_not_fit_is_refused_never_cut(tokenizer: PreTrainedTokenizerFast, row: PromptRow, spare: int):
    length = len(Renderer(tokenizer, "toolbench", None).sequence(row))
    renderer = Renderer(tokenizer, "toolbench", length + spare)
    if spare == 0:
        assert len(renderer.sequence(row)) == length
        return
    with pytest.raises(DoesNotFit, match=rf"row trace-0/2: a prompt of \d+ .* more than {length - 1}; .*API list"):
        renderer.sequence(row)
    assert renderer.prompt_ids(row), "the prompt alone leaves room to write"


def test_a_prompt_that_leaves_no_room_is_refused(tokenizer: PreTrainedTokenizerFast, row: PromptRow):
    length = len(Renderer(tokenizer, "toolbench", None).prompt_ids(row))
    with pytest.raises(DoesNotFit, match="row trace-0/2"):
        Renderer(tokenizer, "toolbench", length).prompt_ids(row)


def test_a_tokenizer_that_starts_with_bos_does_so_here(tokenizer: PreTrainedTokenizerFast, row: PromptRow):
    tokenizer.bos_token = "<|start_header_id|>"
    assert Renderer(tokenizer, "toolbench", None).prompt_ids(row)[0] != tokenizer.bos_token_id
    processor = TemplateProcessing(single="<|start_header_id|> $A", special_tokens=[("<|start_header_id|>", 3)])
    tokenizer.backend_tokenizer.post_processor = processor
    assert Renderer(tokenizer, "toolbench", None).prompt_ids(row)[0] == 3
    assert Renderer(tokenizer, "toolbench", None).completion_ids("x")[0] != 3


def test_a_row_without_completion_has_no_sequence(renderer: Renderer, row: PromptRow):
    with pytest.raises(UserError, match="row trace-0/2 has no recorded completion"):
        renderer.sequence(replace(row, completion=None))


def test_a_tokenizer_without_eos_is_refused(tokenizer: PreTrainedTokenizerFast):
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-sequence token; set eos_token"):
        Renderer(tokenizer, "toolbench", None)


def test_the_fingerprint_changes_with_what_matters_alone(tokenizer: PreTrainedTokenizerFast, tokenizer_folder: Path):
    fingerprint = tokenizer_fingerprint(load_tokenizer(tokenizer_folder))
    tokenizer(["a", "bc"], padding=True, truncation=True, max_length=2)
    tokenizer.pad_token, tokenizer.eos_token, tokenizer.chat_template = "<pad>", "<|eot_id|>", "{{ messages }}"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 1)])
    assert tokenizer_fingerprint(tokenizer) == fingerprint
    changes = [
        lambda t: t.add_tokens(["new"]),
        lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Lowercase()),
        lambda t: setattr(t.backend_tokenizer, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
    ]
    for change in changes:
        other = load_tokenizer(tokenizer_folder)
        change(other)
        assert tokenizer_fingerprint(other) != fingerprint


CHATML = "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '\n' + m.content + '<|eot_id|>\n' }}{% endfor %}"
OPENED = "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant\n' }}{% endif %}"


@pytest.mark.parametrize(
    ("chat_template", "eos", "ends"),
    [
        (None, "</s>", {"toolbench": "</s>"}),
        (CHATML + OPENED, "</s>", {"toolbench": "</s>", "chat": "<|eot_id|>"}),
        (CHATML.replace("<|eot_id|>", "") + OPENED, "</s>", {"toolbench": "</s>", "chat": "</s>"}),
        ("{{ messages[0].content + 1 }}", "</s>", {"toolbench": "</s>"}),
        ("{{ raise_exception('no') }}", "</s>", {"toolbench": "</s>"}),
        (CHATML + OPENED, None, {}),
    ],
)
def test_every_template_that_can_be_used_has_its_terminator(
    tokenizer: PreTrainedTokenizerFast, chat_template: str | None, eos: str | None, ends: dict[str, str]
):
    tokenizer.chat_template, tokenizer.eos_token = chat_template, eos
    assert terminators(tokenizer) == {name: tokenizer.convert_tokens_to_ids(end) for name, end in ends.items()}


def test_the_chat_template_has_a_fingerprint_of_its_own(tokenizer: PreTrainedTokenizerFast):
    seen = set()
    for template in (None, "{{ messages }}", "{# v2 #}{{ messages }}"):
        tokenizer.chat_template = template
        seen.add(chat_template_fingerprint(tokenizer))
    assert None in seen
    assert len(seen) == 3


@pytest.mark.parametrize("content", [None, "not json"])
def test_a_folder_without_tokenizer_is_named(tmp_path: Path, content: str | None):
    if content:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=f"no fast tokenizer at {tmp_path} .*expected a folder with tokenizer.json"):
        load_tokenizer(tmp_path)


def test_the_renderer_needs_no_torch():
    check = "import sys, common.render; print({'torch', 'ray', 'vllm'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.splitlines()[-1] == "set()"
