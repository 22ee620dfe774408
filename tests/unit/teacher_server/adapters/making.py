"""Adapters as files alone, in PEFT's format: enough for all that doesn't compute with them."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def make_adapter(folder: Path, module: str = "q_proj", rank: int = 4, fill: float = 0) -> Path:
    """One LoRA factor of one layer, filled with `fill`; its largest rank is 2 * `rank`, by a pattern."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "rank_pattern": {"v_proj": 2 * rank}}))
    key = f"base_model.model.model.layers.0.{module}.lora_A.weight"
    save_file({key: np.full((rank, 3), fill, np.float32)}, folder / "adapter_model.safetensors")
    return folder
