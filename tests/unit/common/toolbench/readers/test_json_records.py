"""The JSON reader: arrays and lines in every encoding, and the records behind a broken one."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.toolbench.fields import BadRecord
from common.toolbench.readers import json_records as reader
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


@pytest.mark.parametrize(
    ("text", "records", "message"),
    [
        ('[{"n": 1}, {"n": 2', 1, "broken JSON"),
        ('[{"n": 1}, {"n": "x', 1, "Unterminated string starting at"),
        ('[{"n": 1},', 1, "the file ends within its array"),
        ('[{"n": 1}] {"n": 2}', 1, "text stands behind the array's end"),
        ("", 0, "the file is empty"),
    ],
)
def test_a_file_that_is_cut_says_so_once(tmp_path: Path, text: str, records: int, message: str):
    path = tmp_path / "a.json"
    path.write_text(text)
    *whole, error = json_records(path)
    assert (len(whole), isinstance(error, BadRecord)) == (records, True)
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
