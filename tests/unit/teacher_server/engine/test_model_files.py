"""Where weights are, what is said when they aren't there, and revisions that follow the bytes."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from huggingface_hub.errors import GatedRepoError
from safetensors.numpy import save_file

from common.errors import UserError
from teacher_server.engine import model_files
from tests.unit.teacher_server.adapters.adapter_files import make_adapter


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


def test_an_adapter_is_known_by_its_files(tmp_path: Path):
    with pytest.raises(UserError, match=r"adapter expert: no adapter_config.json in .*a; expected"):
        model_files.check_adapter("expert", tmp_path / "a")
    adapter = make_adapter(tmp_path / "a")
    model_files.check_adapter("expert", adapter)
    assert model_files.adapter_rank("expert", adapter) == 8
    assert model_files.adapter_modules("expert", adapter) == {"q_proj"}
    assert model_files.adapter_revision(adapter) != model_files.adapter_revision(make_adapter(tmp_path / "b", fill=1))


def test_an_adapter_of_the_output_layer_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"adapter expert .* changes lm_head"):
        model_files.adapter_modules("expert", make_adapter(tmp_path / "a", module="lm_head"))


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"r": null}', '{"r": 4, "rank_pattern": {"x": "y"}}'])
def test_a_configuration_that_is_no_loras_is_refused(tmp_path: Path, config: str):
    adapter = make_adapter(tmp_path / "a")
    (adapter / "adapter_config.json").write_text(config)
    with pytest.raises(UserError, match=r"adapter expert: adapter_config.json in .* isn't PEFT's of a LoRA"):
        model_files.adapter_rank("expert", adapter)


def test_damaged_weights_of_an_adapter_are_named(tmp_path: Path):
    adapter = make_adapter(tmp_path / "a")
    (adapter / "adapter_model.safetensors").write_bytes(b"0" * 100)
    with pytest.raises(UserError, match=r"adapter_model.safetensors in .* is damaged"):
        model_files.adapter_modules("expert", adapter)


@pytest.mark.parametrize(
    ("base", "complaint"),
    [
        ({"model.layers.0.q_proj.weight": np.zeros((5, 3), np.float32)}, None),
        ({"model.layers.0.q_proj.weight": np.zeros((5, 4), np.float32)}, r"is \[4, 3\].*the base's \[5, 4\]"),
        (
            {"model.layers.1.q_proj.weight": np.zeros((5, 3), np.float32)},
            "model.layers.0.q_proj, which the base",
        ),
        ({"model.layers.0.q_proj.weight": np.zeros((8, 1), np.uint8)}, None),
        ({"transformer.h.0.attn.weight": np.zeros((5, 4), np.float32)}, None),
    ],
    ids=["fits", "narrower", "fewer layers", "packed", "other names"],
)
def test_an_adapter_of_another_base_is_refused(tmp_path: Path, base: dict[str, np.ndarray], complaint: str | None):
    save_file(base, tmp_path / "model.safetensors")
    shapes, adapter = model_files.model_shapes(tmp_path), make_adapter(tmp_path / "a")
    if complaint is None:
        model_files.check_adapter_fits("expert", adapter, shapes)
    else:
        with pytest.raises(UserError, match=complaint):
            model_files.check_adapter_fits("expert", adapter, shapes)
