"""The training file's reader: the last turn is the target, and no turn is dropped unseen."""

from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.toolbench.readers.toolllama import read_toolllama
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import offered_functions
from tests.unit.common.toolbench.records import PROMPT, conversation, quarantine, skipped, source

GOOD = conversation("how?", 1)[0]


def test_one_row_per_step(tmp_path: Path):
    rows = list(read_toolllama(source(tmp_path / "train.json", conversation("how?", 2)), quarantine(tmp_path)))
    assert [(row.id, row.trace, row.step) for row in rows] == [("train/1/1", "train/1", 1), ("train/1/2", "train/1", 2)]
    assert rows[1].query == "how?"
    assert rows[1].completion == "\nThought: 2\nAction: look\nAction Input: {}"
    assert rows[1].turns == (
        Turn("system", PROMPT),
        Turn("user", "\nhow?\nBegin!\n"),
        Turn("assistant", "\nThought: 1\nAction: look\nAction Input: {}"),
        Turn("function", "seen 1"),
    )


def test_traces_are_told_apart_and_ids_unique(tmp_path: Path):
    records = conversation("a", 2) + conversation("b", 1) + conversation("b", 2) + conversation("a", 1)
    rows = list(read_toolllama(source(tmp_path / "t.json", records), quarantine(tmp_path)))
    assert [row.trace for row in rows] == ["t/1", "t/1", "t/2", "t/3", "t/3", "t/4"]
    assert len({row.id for row in rows}) == len(rows)


def test_a_mid_dialogue_user_turn_and_a_query_of_several_lines_stay(tmp_path: Path):
    turns = [*GOOD["conversations"][:2], {"from": "user", "value": "not the first time"}, GOOD["conversations"][2]]
    file = source(tmp_path / "t.json", [{"id": "Step 3: two\nlines: yes", "conversations": turns}])
    [row] = read_toolllama(file, quarantine(tmp_path))
    assert row.turns[2] == Turn("user", "not the first time")
    assert row.query == "two\nlines: yes"


def turns_with(index: int, **changes: Any) -> list[dict[str, Any]]:
    return [turn | changes if n == index else turn for n, turn in enumerate(GOOD["conversations"])]


BAD = [
    ({"conversations": turns_with(1, **{"from": "human"})}, "unknown_role", r"\[1\].from': got the role 'human'"),
    ({"conversations": turns_with(2, **{"from": "gpt"})}, "unknown_role", r"\[2\].from': got the role 'gpt'"),
    ({"conversations": turns_with(2, value=None)}, "wrong_type", r"conversations\[2\].value' holds None"),
    ({"conversations": [{"from": "user"}]}, "missing_field", r"'conversations\[0\].value' is missing"),
    ({"conversations": GOOD["conversations"][:2]}, "no_target", "doesn't end with an assistant turn"),
    ({"conversations": GOOD["conversations"][2:]}, "no_target", "doesn't end with an assistant turn after others"),
    ({"conversations": "text"}, "wrong_type", "'conversations' holds a string, expected a list"),
    ({"id": "how?"}, "bad_id", "expected 'Step N: <query>'"),
    ({"conversations": turns_with(2, value="half \ud83d")}, "bad_text", r"\[2\].value' holds half a character"),
    ({"conversations": turns_with(0, value="You are helpful.")}, "unreadable_apis", "no readable list of APIs"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason", "message"), BAD)
def test_a_bad_row_is_named_with_its_field(tmp_path: Path, changes: dict[str, Any], reason: str, message: str):
    file = source(tmp_path / "t.json", [GOOD, GOOD | changes, GOOD])
    with pytest.raises(UserError, match=rf"t\.json, row 2: .*{message}"):
        list(read_toolllama(file, quarantine(tmp_path)))
    aside = quarantine(tmp_path, skip_bad=True)
    assert len(list(read_toolllama(file, aside))) == 2
    assert dict(aside.counts) == {reason: 1}
    [line] = skipped(tmp_path)
    assert (line["reason"], line["record"]) == (reason, GOOD | changes)


@pytest.mark.parametrize(
    "said", ["", " \n", "I can't help with that.", "\nThought: done", "\nThought: x\nAction Input: {}"]
)
def test_a_last_turn_without_an_action_is_left_out_by_reason(tmp_path: Path, said: str):
    records = [GOOD | {"conversations": turns_with(2, value=said)}, GOOD]
    aside = quarantine(tmp_path)
    assert len(list(read_toolllama(source(tmp_path / "t.json", records), aside))) == 1
    assert dict(aside.counts) == {"ends_without_action": 1}


def test_windows_line_ends_give_the_same_rows(tmp_path: Path):
    windows = [turn | {"value": turn["value"].replace("\n", "\r\n")} for turn in GOOD["conversations"]]
    records = [GOOD, GOOD | {"conversations": windows}]
    unix, same = read_toolllama(source(tmp_path / "t.json", records), quarantine(tmp_path))
    assert same.completion == unix.completion
    assert offered_functions(same.turns[0].content) == offered_functions(unix.turns[0].content)
