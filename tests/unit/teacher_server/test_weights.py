"""Where weights are, what is said when they aren't there, and revisions that follow the bytes."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from common.errors import UserError
from teacher_server import weights


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"w": np.zeros(3, np.float32)}, folder / "model.safetensors")
    return folder


def make_adapter(folder: Path, module: str = "q_proj", rank: int = 4, fill: float = 0) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "rank_pattern": {"v_proj": 2 * rank}}))
    key = f"base_model.model.model.layers.0.{module}.lora_A.weight"
    save_file({key: np.full((rank, 3), fill, np.float32)}, folder / "adapter_model.safetensors")
    return folder


def test_a_folder_is_its_own_place(model: Path):
    assert weights.locate_model(str(model)) == model


def test_a_missing_folder_and_missing_files_are_named(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(model.parent)
    for name in (str(model / "nowhere"), "./nowhere", "nowhere"):
        with pytest.raises(UserError, match=r"no folder .*nowhere"):
            weights.locate_model(name)
    (model / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights in safetensors"):
        weights.locate_model(str(model))


def test_a_hub_name_that_cannot_be_had_names_what_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def unreachable(name: str, allow_patterns: list[str]) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(UserError, match=r"org/name from the Hugging Face hub: no route.*HF_TOKEN.*HF_HOME"):
        weights.locate_model("org/name")


def test_a_revision_follows_the_bytes_and_not_the_place(model: Path, tmp_path: Path):
    before = weights.model_revision(model)
    moved = model.rename(tmp_path / "moved")
    assert weights.model_revision(moved) == before
    save_file({"w": np.ones(3, np.float32)}, moved / "model.safetensors")
    assert weights.model_revision(moved) != before


def test_the_hubs_cache_is_not_read_again(model: Path, tmp_path: Path):
    (tmp_path / "blobs").mkdir()
    blob = (model / "model.safetensors").rename(tmp_path / "blobs" / ("a" * 64))
    (model / "model.safetensors").symlink_to(blob)
    before = weights.model_revision(model)
    blob.write_bytes(b"never read")
    assert weights.model_revision(model) == before


def test_an_adapter_is_known_by_its_files(tmp_path: Path):
    with pytest.raises(UserError, match=r"adapter expert: no adapter_config.json in .*a; expected"):
        weights.check_adapter("expert", tmp_path / "a")
    adapter = make_adapter(tmp_path / "a")
    weights.check_adapter("expert", adapter)
    assert weights.adapter_rank(adapter) == 8
    assert weights.adapter_modules("expert", adapter) == {"q_proj"}
    assert weights.adapter_revision(adapter) != weights.adapter_revision(make_adapter(tmp_path / "b", fill=1))


def test_an_adapter_of_the_output_layer_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"adapter expert .* changes lm_head"):
        weights.adapter_modules("expert", make_adapter(tmp_path / "a", module="lm_head"))
