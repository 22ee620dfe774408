"""Where weights are, what is said when they aren't there, and revisions that follow the bytes."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from huggingface_hub.errors import GatedRepoError
from safetensors.numpy import save_file

from common.errors import UserError
from teacher_server.engine import model_files


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"w": np.zeros(3, np.float32)}, folder / "model.safetensors")
    return folder


def test_a_folder_is_its_own_place(model: Path):
    assert model_files.locate_model(str(model)) == model


def test_a_missing_folder_and_missing_files_are_named(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(model.parent)
    for name in (str(model / "nowhere"), "./nowhere", "nowhere"):
        with pytest.raises(UserError, match=r"no folder .*nowhere"):
            model_files.locate_model(name)
    (model / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights in safetensors"):
        model_files.locate_model(str(model))


def test_a_hub_name_that_cannot_be_had_names_what_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def unreachable(name: str, allow_patterns: list[str]) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(UserError, match=r"org/name from the Hugging Face hub: no route.*HF_TOKEN.*HF_HOME"):
        model_files.locate_model("org/name")


def test_gated_weights_without_access_name_the_token(monkeypatch: pytest.MonkeyPatch):
    def refuse(name: str, allow_patterns: list[str]) -> str:
        request = httpx.Request("GET", "https://huggingface.co/org/name")
        raise GatedRepoError("Access to model org/name is restricted.", response=httpx.Response(401, request=request))

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(UserError, match=r"Access to model org/name is restricted.*HF_TOKEN with access"):
        model_files.locate_model("org/name")


def test_offline_a_filled_cache_is_read_and_an_empty_one_named(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match=r"can't get the model org/name .*filled HF_HOME"):
        model_files.locate_model("org/name")
    cached = tmp_path / "hub" / "models--org--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("c" * 40)
    (cached / "snapshots").mkdir()
    snapshot = model.rename(cached / "snapshots" / ("c" * 40))
    assert model_files.locate_model("org/name") == snapshot


def test_a_revision_follows_the_bytes_and_not_the_place(model: Path, tmp_path: Path):
    before = model_files.model_revision(model)
    moved = model.rename(tmp_path / "moved")
    assert model_files.model_revision(moved) == before
    save_file({"w": np.ones(3, np.float32)}, moved / "model.safetensors")
    assert model_files.model_revision(moved) != before


def test_quantized_weights_are_another_revision():
    revisions = {model_files.served_revision("r", quantization) for quantization in (None, "fp8", "bitsandbytes")}
    assert revisions == {"r", "r-fp8", "r-bitsandbytes"}


def test_the_hubs_cache_is_not_read_again(model: Path, tmp_path: Path):
    (tmp_path / "blobs").mkdir()
    blob = (model / "model.safetensors").rename(tmp_path / "blobs" / ("a" * 64))
    (model / "model.safetensors").symlink_to(blob)
    before = model_files.model_revision(model)
    blob.write_bytes(b"never read")
    assert model_files.model_revision(model) == before
