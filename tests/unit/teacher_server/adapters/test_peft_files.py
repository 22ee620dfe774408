"""What PEFT saved, what is refused of it, and whether it fits a base."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from common.errors import UserError
from teacher_server.adapters import peft_files
from teacher_server.engine import model_files
from tests.unit.teacher_server.adapters.making import make_adapter


def test_an_adapter_is_known_by_its_files(tmp_path: Path):
    with pytest.raises(UserError, match=r"adapter expert: no adapter_config.json in .*a; expected"):
        peft_files.check_files("expert", tmp_path / "a")
    adapter = make_adapter(tmp_path / "a")
    peft_files.check_files("expert", adapter)
    assert peft_files.rank_of("expert", adapter) == 8
    assert peft_files.modules_of("expert", adapter) == {"q_proj"}
    assert peft_files.revision_of(adapter) != peft_files.revision_of(make_adapter(tmp_path / "b", fill=1))


def test_an_adapter_of_the_output_layer_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"adapter expert .* changes lm_head"):
        peft_files.modules_of("expert", make_adapter(tmp_path / "a", module="lm_head"))


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"r": null}', '{"r": 4, "rank_pattern": {"x": "y"}}'])
def test_a_configuration_that_is_no_loras_is_refused(tmp_path: Path, config: str):
    adapter = make_adapter(tmp_path / "a")
    (adapter / "adapter_config.json").write_text(config)
    with pytest.raises(UserError, match=r"adapter expert: adapter_config.json in .* isn't PEFT's of a LoRA"):
        peft_files.rank_of("expert", adapter)


def test_damaged_weights_of_an_adapter_are_named(tmp_path: Path):
    adapter = make_adapter(tmp_path / "a")
    (adapter / "adapter_model.safetensors").write_bytes(b"0" * 100)
    with pytest.raises(UserError, match=r"adapter_model.safetensors in .* is damaged"):
        peft_files.modules_of("expert", adapter)


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
        peft_files.check_fits("expert", adapter, shapes)
    else:
        with pytest.raises(UserError, match=complaint):
            peft_files.check_fits("expert", adapter, shapes)
