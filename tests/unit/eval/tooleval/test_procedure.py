"""ToolEval's procedure, by labels made by hand: what is asked when, what passes, and who wins."""

import asyncio

import pytest

from eval.tooleval.answers import Answer
from eval.tooleval.labels import PASS_LABELS, Verdict
from eval.tooleval.procedure import JudgedAnswer, Procedure, Round, judge_final_answer
from eval.tooleval.prompts import Kind
from eval.tooleval.rates import Comparison
from tests.unit.eval.tooleval.made import ScriptedJudge, by_kind, cut_off, finished, gave_up, item

ROUNDS = 4


def judged(judge: ScriptedJudge, answer: Answer, seed: int = 0, rounds: int = ROUNDS) -> JudgedAnswer:
    return asyncio.run(Procedure(judge, rounds, seed).judge_answer(item(answer)))


def test_what_never_finishes_fails_unasked():
    judge = by_kind()
    answer = judged(judge, cut_off())
    assert answer.rounds == (Round("Unsolved", None, False, False),) * ROUNDS
    assert judge.asked == []


@pytest.mark.parametrize("answer", [gave_up(), finished("")], ids=["gave_up", "empty"])
@pytest.mark.parametrize(("task", "passed"), [("Solvable", False), ("Unsolvable", True)])
def test_giving_up_is_unsolved_and_the_task_decides(answer: Answer, task: str, passed: bool):
    judge = by_kind(task_status=task)
    found = judged(judge, answer)
    assert found.rounds == (Round("Unsolved", task, passed, False),) * ROUNDS
    assert judge.kinds() == ["task_status"] * ROUNDS


def test_what_is_solved_passes_whatever_the_task():
    judge = by_kind(answer_status="Solved")
    assert judged(judge, finished()).rounds == (Round("Solved", None, True, False),) * ROUNDS
    assert judge.kinds() == ["answer_status"] * ROUNDS


def test_only_what_is_unsure_is_judged_again_on_its_whole_path():
    judge = by_kind(
        answer_status=["Unsure", "Solved", "Unsolved", "Unsure"],
        path_status=["Solved", None, None, "Unsolved"],
        task_status="Solvable",
    )
    found = judged(judge, finished())
    assert found.statuses == ["Solved", "Solved", "Unsolved", "Unsolved"]
    paths = [fields["path"] for kind, _, fields in judge.asked if kind == "path_status"]
    assert len(paths) == 2
    assert "calls look_up with {}\n  returns found" in paths[0]


@pytest.mark.parametrize(("status", "task"), list(PASS_LABELS))
def test_each_cell_of_the_table_is_what_an_answer_gets(status: str, task: str):
    """Unsure cells are coin flips: over many seeds both sides fall, and the same side for the same seed."""
    judge = by_kind(answer_status=status, path_status=status, task_status=task)
    found = [judged(judge, finished(), seed).rounds for seed in range(12)]
    label = PASS_LABELS[status, task]
    assert {each.coin_flip for rounds in found for each in rounds} == {label == "unsure"}
    passed = {each.passed for rounds in found for each in rounds}
    assert passed == {"passed": {True}, "failed": {False}, "unsure": {True, False}}[label]
    assert judged(judge, finished(), 5).rounds == found[5]


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (["Solved", "Solved", "Solved", "Unsolved"], Verdict(True, False)),
        (["Solved", "Unsolved", "Unsolved", "Solved"], Verdict(True, True)),
        (["Unsolved", "Unsolved", "Solved", "Unsolved"], Verdict(False, False)),
        (["Solved", "Unsolved", "Solved", "Unsolved", "Unsolved"], Verdict(False, False)),
        (["Solved", "Unsolved"] * 3, Verdict(True, True)),
    ],
)
def test_rounds_make_a_verdict(statuses: list[str], verdict: Verdict):
    judge = by_kind(answer_status=statuses, task_status="Solvable")
    assert judged(judge, finished(), rounds=len(statuses)).verdict == verdict


def test_tasks_are_asked_under_a_name_that_all_agents_share():
    judge = by_kind(answer_status="Unsolved", task_status="Solvable")
    judged(judge, finished())
    places = [place for kind, place, _ in judge.asked if kind == "task_status"]
    assert places == [f"G1/1/{number}" for number in range(ROUNDS)]
    assert "look_up" in judge.asked[-1][2]["tools"]


def with_statuses(statuses: str, agent: str, answer: Answer) -> JudgedAnswer:
    """An answer with the statuses S, X (Unsolved) and U, the task being solvable and a coin falling on fail."""
    names = {"S": "Solved", "X": "Unsolved", "U": "Unsure"}
    rounds = [Round(names[each], None if each == "S" else "Solvable", each == "S", each == "U") for each in statuses]
    return JudgedAnswer(item(answer, agent), tuple(rounds))


def compare(
    judge: ScriptedJudge, statuses: tuple[str, str], seed: int = 0, answers: tuple[str, str] = ("mine", "yours")
) -> tuple[Comparison, Comparison]:
    reference = with_statuses(statuses[0], "ft", finished(answers[0]))
    agent = with_statuses(statuses[1], "kd", finished(answers[1]))
    procedure = Procedure(judge, len(statuses[0]), seed)

    pair = asyncio.run(procedure.compare(reference, agent))
    return pair.by_pass, pair.by_status


@pytest.mark.parametrize(("statuses", "who"), [(("SSSS", "XXXX"), "reference"), (("XXXS", "SSSX"), "agent")])
def test_different_labels_decide_unasked(statuses: tuple[str, str], who: str):
    judge = by_kind()
    assert compare(judge, statuses) == (Comparison(who), Comparison(who))
    assert judge.asked == []


@pytest.mark.parametrize("seed", range(16))
def test_statuses_go_with_their_answers_however_they_are_shuffled(seed: int):
    """Each round's vote is the better status's. Were the answers shuffled alone, half of them would be the other's."""
    judge = by_kind()
    expected = Comparison("tie", ("reference", "agent", "reference", "agent"))
    assert compare(judge, ("SXUX", "XSXU"), seed) == (expected, expected)
    assert compare(judge, ("SXSX", "XSXS"), seed) == (expected, expected)
    assert judge.asked == []


def test_a_judge_that_looks_at_the_order_alone_prefers_nobody():
    votes = [
        vote for seed in range(50) for vote in compare(by_kind(better_answer="A"), ("SSSS", "SSSS"), seed)[0].votes
    ]
    assert 0.35 < votes.count("agent") / len(votes) < 0.65


@pytest.mark.parametrize("seed", range(8))
def test_a_judge_that_looks_at_the_answers_prefers_the_same_in_any_order(seed: int):
    def better(kind: Kind, number: int, fields: dict[str, str]) -> str:
        assert f'"{fields["answer_a"]}"' in fields["path_a"]
        assert f'"{fields["answer_b"]}"' in fields["path_b"]
        return "A" if fields["answer_a"] == "yours" else "B"

    for found in compare(ScriptedJudge(better), ("XXXX", "XXXX"), seed):
        assert found == Comparison("agent", ("agent",) * ROUNDS)


def test_votes_that_are_equal_are_a_tie():
    def better(kind: Kind, number: int, fields: dict[str, str]) -> str:
        return "A" if (fields["answer_a"] == "mine") == (number < 2) else "B"

    [by_pass, _] = compare(ScriptedJudge(better), ("SSSS", "SSSS"))
    assert by_pass == Comparison("tie", ("reference", "reference", "agent", "agent"))


def test_equal_answers_are_drawn_unasked():
    judge = by_kind()
    found = [compare(judge, ("SSSS", "SSSS"), seed, ("same", "same"))[0].votes for seed in range(8)]
    assert {vote for votes in found for vote in votes} == {"reference", "agent"}
    assert judge.asked == []


def test_the_two_comparisons_differ_where_a_task_passes_unsolved():
    """Both pass, one by solving and one since the task can't be solved: ToolBench votes, StableToolBench doesn't."""
    reference = with_statuses("SSSS", "ft", finished("mine"))
    passing = JudgedAnswer(item(finished("yours")), (Round("Unsolved", "Unsolvable", True, False),) * ROUNDS)
    pair = asyncio.run(Procedure(by_kind(), ROUNDS, 0).compare(reference, passing))
    assert pair.by_pass == Comparison("reference", ("reference",) * ROUNDS)
    assert pair.by_status == Comparison("reference")


@pytest.mark.parametrize("first", "SXU")
@pytest.mark.parametrize("second", "SXU")
def test_swapping_the_sides_swaps_the_winner(first: str, second: str):
    judge = ScriptedJudge(lambda kind, number, fields: "A" if fields["answer_a"] == "mine" else "B")
    swapped = {"reference": "agent", "agent": "reference", "tie": "tie"}
    there = compare(judge, (first * 4, second * 4))
    back = compare(judge, (second * 4, first * 4), answers=("yours", "mine"))
    assert [each.winner for each in back] == [swapped[each.winner] for each in there]


@pytest.mark.parametrize(
    ("answer", "label", "asked"),
    [(finished(), "Solved", 1), (finished(), "Unsolved", 1), (gave_up(), "Unsolved", 0), (cut_off(), "Unsolved", 0)],
)
def test_fac_asks_once_for_what_the_user_is_told(answer: Answer, label: str, asked: int):
    fac = ScriptedJudge(lambda kind, number, fields: label)
    assert asyncio.run(judge_final_answer(fac, item(answer))).label == label
    assert [(kind, fields) for kind, _, fields in fac.asked] == [
        ("final_answer", {"query": "How many?", "answer": "It is 3."})
    ] * asked
