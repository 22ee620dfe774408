"""An adapter's files: what PEFT saved, whether it fits a base, and a revision that changes whenever they do."""

import json
import re
from pathlib import Path

from safetensors import SafetensorError

from common.errors import UserError
from teacher_server.engine.model_files import Shapes, hash_files, read_shapes

_LAYER_NUMBER = re.compile(r"\.\d+\.")


def check_files(name: str, path: Path) -> None:
    """Raises UserError unless `path` holds a LoRA adapter in PEFT's own format."""
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (path / file).is_file():
            raise UserError(f"adapter {name}: no {file} in {path.absolute()}; expected a folder saved by PEFT")


def rank_of(name: str, path: Path) -> int:
    """The largest LoRA rank of the adapter in `path`. Raises UserError when its configuration gives none."""
    try:
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
        return max([int(config["r"]), *map(int, config.get("rank_pattern", {}).values())])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"adapter {name}: adapter_config.json in {path} isn't PEFT's of a LoRA: {error!r}") from None


def modules_of(name: str, path: Path) -> set[str]:
    """The kinds of module that the adapter in `path` changes, like {"q_proj", "v_proj"}.

    Raises UserError when the output layer is among them: vLLM would apply another request's adapter to its logits while
    it scores, or die.
    """
    modules = {key.split(".lora_")[0].split(".")[-1] for key in _shapes_of(name, path)}
    if "lm_head" in modules:
        raise UserError(
            f"adapter {name} in {path} changes lm_head, which can't be scored; merge it into its base instead"
        )
    return modules


def check_fits(name: str, path: Path, base: Shapes) -> None:
    """Raises UserError when the adapter in `path` was trained on a model with other layers than the `base` has.

    vLLM copies a narrower adapter into its place, and passes over layers that it doesn't have, without a word. Modules
    whose weights are packed, or saved under names of another kind, are left to vLLM.
    """
    kinds = {_LAYER_NUMBER.sub(".N.", key) for key in base}
    for key, shape in _shapes_of(name, path).items():
        module, _, factor = key.removeprefix("base_model.model.").partition(".lora_")
        weight = f"{module}.weight"
        axis = 1 if factor.startswith("A") else 0  # A is [rank, in], B is [out, rank], the weight [out, in]
        if weight not in base and _LAYER_NUMBER.sub(".N.", weight) in kinds:
            raise UserError(f"adapter {name} changes {module}, which the base doesn't have; was it trained on another?")
        expected = base.get(weight, ())
        if len(expected) == len(shape) == 2 and shape[axis] != expected[axis]:
            raise UserError(
                f"adapter {name}: {key} is {list(shape)}, which doesn't fit the base's {list(expected)}; "
                "was it trained on another?"
            )


def revision_of(path: Path) -> str:
    """Hash of the adapter's weights and configuration."""
    return hash_files([path / "adapter_config.json", path / "adapter_model.safetensors"])


def _shapes_of(name: str, path: Path) -> Shapes:
    try:
        shapes = read_shapes(path / "adapter_model.safetensors")
    except SafetensorError as error:
        raise UserError(f"adapter {name}: adapter_model.safetensors in {path} is damaged: {error}") from None
    return {key: shape for key, shape in shapes.items() if ".lora_" in key}
