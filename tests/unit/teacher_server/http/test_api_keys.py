"""Token files: their two forms, their mistakes, and tokens that change while the server runs."""

import logging
import os
from pathlib import Path

import pytest

from common.errors import UserError
from common.teacher_client.settings import TOKEN_VARIABLE, read_token
from teacher_server.http import api_keys
from teacher_server.http.api_keys import ApiKeys, open_api_keys, parse_api_keys


class Clock:
    """Time as `tokens` sees it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(api_keys, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("text", "clients"),
    [
        ("bare-token\n", {"default": "bare-token"}),
        ("# for the demo\n\n  sk-a/b+c=#1  \n", {"default": "sk-a/b+c=#1"}),
        ("trainer: t:1\n# judges\neval-2:\t#2\r\n", {"trainer": "t:1", "eval-2": "#2"}),
        ("only: one", {"only": "one"}),
    ],
)
def test_a_file_is_one_token_or_named_ones(text: str, clients: dict[str, str]):
    assert parse_api_keys(text, "f") == clients


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "f holds no token"),
        ("# nothing\n", "f holds no token"),
        ("trainer:secret", "line 1: expected `name: token`"),
        ("a: secret\nsecret-2", "line 2: expected"),
        ("a: secret x", "line 1: expected"),
        ("a: sécret", "line 1: expected"),
        ("a/b: secret", "line 1: expected"),
        (": secret", "line 1: expected"),
        (f"{'a' * 65}: secret", "line 1: expected"),
        ("a: secret\n\na: secret-2", "line 3: the name 'a' stood before"),
        ("a: secret\nb: secret", "line 2: the token stood before"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_without_the_token(text: str, complaint: str):
    with pytest.raises(UserError, match=complaint) as raised:
        parse_api_keys(text, "f")
    assert "ecret" not in str(raised.value)


def test_tells_clients_apart(tmp_path: Path):
    (tmp_path / "tokens").write_text("a: first\nb: second\n")
    opened = open_api_keys(tmp_path / "tokens")
    told = [opened.client_of(token) for token in ("first", "second", "third", "", "firs", "first ", "a: first", "ÿ")]
    assert told == ["a", "b", None, None, None, None, None, None]


def test_a_trainers_own_file_serves_as_the_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "token").write_text("shared\n")
    assert open_api_keys(tmp_path / "token").client_of(read_token(tmp_path / "token")) == "default"
    monkeypatch.setenv(TOKEN_VARIABLE, "from-environment")
    assert open_api_keys(None).client_of(read_token(None)) == "default"


def test_files_that_cant_be_read_are_told(tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, complaint in (("nowhere", "can't read"), ("binary", "isn't text")):
        with pytest.raises(UserError, match=complaint):
            open_api_keys(tmp_path / name)


def test_a_changed_file_counts_within_a_second(tmp_path: Path, clock: Clock):
    file = tmp_path / "tokens"
    file.write_text("a: first")
    opened = open_api_keys(file)
    replaced = tmp_path / "new"
    replaced.write_text("a: other")  # as long as before
    os.utime(replaced, ns=(file.stat().st_mtime_ns,) * 2)
    replaced.replace(file)
    clock.now = 0.9
    assert opened.client_of("first") == "a"
    clock.now = 1.1
    assert [opened.client_of(token) for token in ("first", "other")] == [None, "a"]


def test_a_broken_file_keeps_the_tokens_and_is_told_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
):
    file = tmp_path / "tokens"
    file.write_text("a: first")
    opened = open_api_keys(file)
    with caplog.at_level(logging.ERROR):
        for text in ("a: secret b: broken", None):
            file.unlink() if text is None else file.write_text(text)
            for _ in range(3):
                clock.now += 2
                assert opened.client_of("first") == "a"
    assert ["line 1" in caplog.messages[0], "can't read" in caplog.messages[1], len(caplog.messages)] == [True, True, 2]
    assert "secret" not in caplog.text
    file.write_text("a: first\nb: second")
    clock.now += 2
    assert opened.client_of("second") == "b"


def test_every_token_is_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch):
    compared: list[bytes] = []
    monkeypatch.setattr(api_keys.hmac, "compare_digest", lambda own, given: compared.append(own) or own == given)
    opened = ApiKeys({"a": "first", "b": "second", "c": "third"})
    for token in ("first", "third", "none"):
        compared.clear()
        opened.client_of(token)
        assert len({*compared}) == len(compared) == 3
