"""The JSON reader: arrays and lines in every encoding, and the records behind a broken one."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.toolbench.fields import BadRecord
from common.toolbench.readers import json_buffer as reader
from common.toolbench.readers.json_records import json_records

WHOLE = [{"n": n, "text": 'é [{"\\} ☂ 😀' * n} for n in range(5)]


def as_array(records: list[str]) -> str:
    return "[" + ",\n ".join(records) + "]\n"


def as_lines(records: list[str]) -> str:
    return "\r\n".join(records)


def outcome(path: Path) -> list[Any]:
    """Records, with the reason in place of each broken one."""
    return [record.reason if isinstance(record, BadRecord) else record for record in json_records(path)]


@pytest.fixture(params=[1, 7, 1 << 20])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Records are found alike wherever the buffer ends."""
    monkeypatch.setattr(reader, "CHUNK", request.param)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("layout", [as_array, as_lines])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_every_layout_and_encoding(tmp_path: Path, layout: Any, encoding: str, ascii_only: bool):
    path = tmp_path / "a.json"
    path.write_bytes(layout([json.dumps(record, ensure_ascii=ascii_only) for record in WHOLE]).encode(encoding))
    assert outcome(path) == WHOLE


BROKEN = [
    ('{"a": NaN}', "not_a_number"),
    ('{"a": [-Infinity, {"b": "]}"}]}', "not_a_number"),
    ("{'a': 1}", "broken_json"),
    ('{"a": None, "b": "\\"] , ["}', "broken_json"),
    ('{"a": 1 "b": [2]}', "broken_json"),
    ('{"a": "\\x"}', "broken_json"),
    ('{"a": }', "broken_json"),
    ("}", "broken_json"),
    ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "broken_json"),
]  # fmt: skip


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("layout", [as_array, as_lines])
@pytest.mark.parametrize(("broken", "reason"), BROKEN)
def test_a_broken_record_costs_itself_alone(tmp_path: Path, layout: Any, broken: str, reason: str):
    texts = [json.dumps(record) for record in WHOLE]
    for place in (0, 2, 5):
        path = tmp_path / f"{place}.json"
        path.write_text(layout([*texts[:place], broken, *texts[place:]]))
        assert outcome(path) == [*WHOLE[:place], reason, *WHOLE[place:]]


def one_a_line(records: list[str]) -> str:
    return "[\n" + ",\n".join(records) + "\n]"


def compact(records: list[str]) -> str:
    return "[" + ", ".join(records) + "]"


def pretty(records: list[str], indent: int = 2) -> str:
    blank = " " * indent
    return "[\n" + ",\n".join(blank + record.replace("\n", f"\n{blank}") for record in records) + "\n]"


def flat(records: list[str]) -> str:
    return pretty(records, 0)


TURNS = [{"id": f"Step {n}: x", "turns": [{"from": "a", "value": "}, {"}, {"from": "b", "n": n}] * 3} for n in range(5)]
LAYOUTS = [
    (as_array, None), (one_a_line, None), (compact, None), (as_lines, None), (pretty, 2), (pretty, 4), (pretty, 0),
    (flat, 0), (compact, 2), (as_lines, 2),
]  # fmt: skip
DAMAGES = [
    ("Step 2: x", 'Step 2" x'),
    ("Step 2: x", 'Step 2: \n "x'),
    ('"turns": [', '"turns": [['),
    ('"turns": [', '"turns": {'),
    ('"turns": [', '"turns": '),
    ('"turns": [', '"turns": ]'),
    ('"from": "b"', '"from": b"'),
    ('"from": "b"', '"from": {"b"'),
    ('"from": "b"', '"from": NaN'),
]


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize(("layout", "indent"), LAYOUTS)
@pytest.mark.parametrize(("whole", "broken"), DAMAGES)
def test_brackets_and_quotes_without_their_other_cost_one_record_in_every_layout(
    tmp_path: Path, layout: Any, indent: int | None, whole: str, broken: str
):
    texts = [json.dumps(record, indent=indent) for record in TURNS]
    damaged = texts[2].replace(whole, broken, 1)
    assert damaged != texts[2]
    for place in range(5):
        path = tmp_path / f"{place}.json"
        path.write_text(layout([*texts[:place], damaged, *texts[place:]]))
        *found, error = outcome(path)[: place + 1]
        assert (found, error in ("broken_json", "not_a_number")) == (TURNS[:place], True)
        assert outcome(path)[place + 1 :] == TURNS[place:]


@pytest.mark.parametrize(("layout", "indent"), LAYOUTS)
def test_each_of_several_broken_records_is_counted(tmp_path: Path, layout: Any, indent: int | None):
    texts = [json.dumps(record, indent=indent) for record in TURNS]
    for place in (1, 2, 3):
        texts[place] = texts[place].replace("Step", 'St"ep')
    path = tmp_path / "a.json"
    path.write_text(layout(texts))
    assert outcome(path) == [TURNS[0], *["broken_json"] * 3, TURNS[4]]


def test_what_only_seems_to_end_the_array_ends_it_not(tmp_path: Path):
    """An odd quote turns strings into brackets: what is inside the record may come out, what is behind it must."""
    texts = [json.dumps({"id": n, "turns": [{"v": "x }, " * 3}, {"v": "y"}]}) for n in range(3)]
    path = tmp_path / "a.json"
    path.write_text(compact([texts[0], texts[1].replace('id"', "id"), *texts]))
    found = [record["id"] for record in outcome(path) if isinstance(record, dict) and "id" in record]
    assert found == [0, 0, 1, 2]


@pytest.mark.parametrize("layout", [as_array, as_lines])
@pytest.mark.parametrize("digits", [4_301, 100_000])
def test_a_number_too_long_for_python_costs_its_record(tmp_path: Path, layout: Any, digits: int):
    path = tmp_path / "a.json"
    path.write_text(layout(['{"n": 1}', f'{{"n": {"9" * digits}}}', '{"n": 3}']))
    assert outcome(path) == [{"n": 1}, "too_many_digits", {"n": 3}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("before", ['[{"é": 1}, ', '{"é": 1}\n'])
@pytest.mark.parametrize("rest", ['{"é": "x, 2, 3]\n', '{"é": [1, 2, {"x": [', '{"é": \udcff"é'])
@pytest.mark.usefixtures("_chunks")
def test_what_is_lost_is_told_with_its_place(tmp_path: Path, encoding: str, before: str, rest: str):
    path = tmp_path / "a.json"
    if "\udcff" in rest and encoding != "utf-8":
        rest = rest.replace("\udcff", "")
    data = (before + rest).encode(encoding, "surrogateescape")
    path.write_bytes(data)
    *whole, error = json_records(path)
    assert (whole, error.reason) == ([{"é": 1}], "rest_lost")
    begin = len(before.encode(encoding))
    assert f"no record can be told behind it: the file's last {len(data) - begin} bytes, from byte {begin} on" in str(
        error
    )


@pytest.mark.parametrize(
    ("text", "records", "message"),
    [
        ('[{"n": 1}, {"n": 2', 1, "the file's last 7 bytes, from byte 11 on, are lost"),
        ('[{"n": 1}, {"n": "x', 1, "Unterminated string starting at"),
        ('[{"n": 1},', 1, "the file ends within its array"),
        ('[{"n": 1}, NaN', 2, "the file ends within its array"),
        ('[{"n": 1}] {"n": 2}', 1, "behind it: the file's last 8 bytes, from byte 11 on, are lost"),
        ("", 0, "the file is empty"),
    ],
)
def test_a_file_that_is_cut_says_so_once(tmp_path: Path, text: str, records: int, message: str):
    path = tmp_path / "a.json"
    path.write_text(text)
    *before, error = json_records(path)
    assert (len(before), isinstance(error, BadRecord)) == (records, True)
    assert message in str(error)


def test_bytes_that_are_no_text_are_left_to_the_fields(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"n": "\xff"}, {"n": "\\ud83d"}, {"n": "x"}]')
    assert outcome(path) == [{"n": "\udcff"}, {"n": "\ud83d"}, {"n": "x"}]


def test_a_record_without_end_is_not_taken_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "RECORD_LIMIT", 5_000)
    monkeypatch.setattr(reader, "CHUNK", 1_000)
    path = tmp_path / "a.json"
    path.write_text(as_array(['{"n": 1}', f'{{"n": "{"x" * 20_000}"}}', '{"n": 3}']))
    assert outcome(path) == [{"n": 1}, "broken_json", {"n": 3}]
