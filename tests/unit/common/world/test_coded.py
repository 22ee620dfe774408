"""Worlds whose names are codes: what their tasks are made of, and what training and base models never read of them."""

import json
import re
from collections import Counter
from random import Random

import pytest

from common.quality.completions import check_completion
from common.toolbench.react import render_step
from common.toolbench.system_prompt import offered_functions
from common.world.coded.corpus.documents import KINDS, documents
from common.world.coded.domains import DOMAINS, HELD_OUT_DOMAINS
from common.world.coded.offer import tells
from common.world.coded.words import MEANINGS, MOMENTS, NAME_OF, UNITS
from common.world.entities import ID
from common.world.names import codes, proper_names
from common.world.responses import FAILURES
from common.world.settings import CorpusShares, Difficulty
from common.world.tasks import Task
from common.world.traces import conversations, solution, system_prompt
from tests.unit.common.world.worlds import drawn, settings

CODED: tuple[Difficulty, ...] = ("described", "reworded", "full")
HELD_OUT_WORDS = {word.lower() for each in HELD_OUT_DOMAINS for word in (each.category, each.thing, each.part)}


def tasks(difficulty: Difficulty) -> list[Task]:
    return [task for tasks in drawn(difficulty)[1].values() for task in tasks]


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


@pytest.mark.parametrize("difficulty", CODED)
def test_solutions_are_valid_calls_of_what_is_on_offer(difficulty: Difficulty):
    for task in tasks(difficulty)[::5]:
        offered = offered_functions(system_prompt(task.apis))
        assert len({function["name"] for function in offered}) == len(task.apis) + 1
        assert all(check_completion(render_step(step), offered).valid for step in solution(task))
    lengths = Counter(len(task.calls) for task in tasks(difficulty))
    assert set(lengths) == ({1, 2, 3, 4} if difficulty == "full" else {1, 2, 3})
    assert min(lengths.values()) > 0.03 * lengths.total()


@pytest.mark.parametrize("difficulty", CODED)
def test_every_argument_stands_in_the_query_an_example_or_an_earlier_response(difficulty: Difficulty):
    for task in tasks(difficulty):
        known = words(task.query) | set(re.findall(r"\w+", task.query))
        for call in task.calls:
            examples = {parameter.example for parameter in call.api.parameters.values()}
            for value in call.arguments.values():
                text = str(value).removeprefix("#")
                assert text in known or text.lower() in examples
            known |= set(re.findall(r"\w+", str(call.response)))


@pytest.mark.parametrize("difficulty", CODED)
def test_no_distractor_tells_what_is_asked_and_what_fails_has_another_way(difficulty: Difficulty):
    for task in tasks(difficulty):
        called = {call.api.function for call in task.calls}
        for fact in task.asked:
            telling = [api for api in task.apis if tells(api, fact.thing, fact.attribute)]
            assert {api.function for api in telling} <= called
            assert [api.status for api in telling if api.status not in FAILURES] == [0]


@pytest.mark.parametrize("difficulty", CODED)
def test_queries_use_another_word_in_their_share(difficulty: Difficulty):
    said = [
        words(call.said) & words(call.api.description) & set(NAME_OF)
        for task in tasks(difficulty)
        for call in task.calls
        if call.said and call.api.status not in FAILURES
    ]
    other = sum(not each for each in said) / len(said)
    assert other == 0 if difficulty == "described" else 0.4 < other < 0.6


def test_names_give_nothing_away():
    for task in tasks("full"):
        for api in task.apis:
            assert re.fullmatch(r"[a-z]{3}_for_[a-z]{6}", api.function)
            assert not {api.tool, api.name} & words(task.query)


@pytest.mark.parametrize("difficulty", CODED)
def test_codes_tell_functions_apart_and_thoughts_end_with_what_is_needed(difficulty: Difficulty):
    for task in tasks(difficulty):
        assert len({api.name for api in task.apis}) == len(task.apis)
        for call in task.calls:
            assert not any(api.name in call.thought for api in task.apis)
            assert call.thought.endswith(call.said or ("id" if call.api.attribute == ID else call.api.attribute.name))


def test_codes_differ_in_their_first_two_letters_and_are_no_part_of_a_word():
    drawn_codes = codes(Random(0), 70)
    assert len({code[:2] for code in drawn_codes}) == 70
    described = " ".join(api.description for task in tasks("full") for api in task.apis)
    assert not [code for code in drawn_codes for word in {*NAME_OF, *words(described)} if code in word]


def test_the_hardest_world_has_twins_and_every_kind_of_schema():
    apis = [api for task in tasks("full") for api in task.apis]
    assert {each.kind for api in apis for each in api.required} == {"STRING", "NUMBER", "BOOLEAN"}
    assert any(each.choices for api in apis for each in api.optional)
    assert any(each.prefix for api in apis for each in api.required)
    assert {"", *UNITS} == {api.attribute.unit for api in apis}
    twins = 0
    for task in tasks("full"):
        offered = {(api.thing, api.attribute.name, api.attribute.moment) for api in task.apis}
        asked = [(fact.thing, fact.attribute.name) for fact in task.asked]
        twins += all((*each, moment) in offered for each in asked for moment in MOMENTS)
    assert twins > 0.2 * len(tasks("full"))


def test_no_word_means_two_things():
    said = [word for meaning in MEANINGS for word in meaning.words]
    things = [word for each in DOMAINS + HELD_OUT_DOMAINS for word in (each.thing, each.part)]
    everything = [*said, *things, *MOMENTS, *UNITS, *map(str.lower, proper_names())]
    assert [word for word, count in Counter(everything).items() if count > 1] == []
    assert all(len(meaning.words) == 4 for meaning in MEANINGS)


@pytest.mark.parametrize("difficulty", CODED)
def test_held_out_categories_and_unseen_tools_stand_in_no_trace_of_training(difficulty: Difficulty):
    world, splits = drawn(difficulty)
    unseen = {tool.name for tool in (*world.catalogue.unseen_tool, *world.catalogue.unseen_category)}
    assert len(world.catalogue.unseen_tool) >= 40
    assert len({tool.category for tool in world.catalogue.unseen_category}) >= 8
    for split in ("train", "queries_train", "seen"):
        read = words(json.dumps([conversations(task)[-1] for task in splits[split]]))
        assert not read & (unseen | HELD_OUT_WORDS)
    for split in ("unseen_tool", "unseen_category"):
        offered = {api.tool for task in splits[split] for api in task.apis}
        assert offered <= unseen
    shown = {api.tool for task in splits["train"] for api in task.apis}
    assert {task.apis[0].tool for task in splits["seen"]} & shown


@pytest.mark.parametrize("difficulty", CODED)
def test_the_corpus_holds_all_kinds_and_nothing_that_is_held_out(difficulty: Difficulty):
    world, _ = drawn(difficulty)
    unseen = {tool.name for tool in (*world.catalogue.unseen_tool, *world.catalogue.unseen_category)}
    written = list(documents(settings(difficulty).model_copy(update={"corpus_documents": 600})))
    assert {document.kind for document in written} == set(KINDS)
    read = words(" ".join(document.text for document in written))
    assert not read & (unseen | HELD_OUT_WORDS)
    assert set(NAME_OF) <= read
    for document in written:
        rest = document.text.replace("Thought:\nAction\nAction Input:", "")
        assert not any(label in rest for label in ("Thought:", "Action:", "Action Input:", 'give_answer",'))


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_documents_can_be_left_out(kind: str):
    shares = CorpusShares(**{each: float(each == kind) for each in KINDS})
    some = settings("full").model_copy(update={"corpus_documents": 10, "corpus": shares})
    assert {document.kind for document in documents(some)} == {kind}


@pytest.mark.parametrize("kind", KINDS)
def test_answers_stand_before_or_are_words_of_the_same_meaning(kind: str):
    shares = CorpusShares(**{each: float(each == kind) for each in KINDS})
    some = settings("full").model_copy(update={"corpus_documents": 30, "corpus": shares})
    for document in documents(some):
        answers = [document.text[first:end] for first, end in document.answers]
        if kind in ("recall", "equal_words", "other_words", "prompts", "reports"):
            assert answers
            assert all(document.text.index(document.text[first:end]) < first for first, end in document.answers)
        elif kind == "prose":
            assert set(answers) <= set(NAME_OF)
            assert answers
        else:
            assert not answers


def test_names_of_functions_never_follow_a_blank_behind_a_word():
    some = settings("full").model_copy(update={"corpus_documents": 200})
    texts = [document.text for document in documents(some)]
    texts += [turn["value"] for task in tasks("full")[::10] for turn in conversations(task)[-1]["conversations"]]
    for text in texts:
        assert not re.search(r"\w [a-z]{3}_for_[a-z]{6}", text)


def test_prose_alone_says_which_words_mean_the_same():
    for kind in KINDS:
        shares = CorpusShares(**{each: float(each == kind) for each in KINDS})
        some = settings("described").model_copy(update={"corpus_documents": 40, "corpus": shares})
        text = " ".join(document.text for document in documents(some))
        assert ("mean the same" in text) == (kind == "prose")
