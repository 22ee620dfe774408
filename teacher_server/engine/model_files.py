"""Weights on disk: where they are, and a revision that changes whenever they do."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from common.errors import UserError

REVISION_LENGTH = 16
Shapes = dict[str, tuple[int, ...]]
_LAYER_NUMBER = re.compile(r"\.\d+\.")


def locate_model(model: str) -> Path:
    """The folder of a model: `model` itself, or the download of the Hugging Face name `organisation/name`.

    Gated weights need HF_TOKEN; HF_HOME says where the cache is; HF_HUB_OFFLINE=1 reads the cache alone.
    Raises UserError when there are no weights.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if model.count("/") != 1 or model.startswith((".", "/", "~")):
            raise UserError(f"no folder {folder.absolute()}: the model must be a folder or a hub name like org/name")
        folder = _download(model)
    for pattern, what in (("config.json", "config.json"), ("*.safetensors", "weights in safetensors")):
        if not any(folder.glob(pattern)):
            raise UserError(f"the model folder {folder} has no {what}; expected what save_pretrained writes")
    return folder


def check_adapter(name: str, path: Path) -> None:
    """Raises UserError unless `path` holds a LoRA adapter in PEFT's own format."""
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (path / file).is_file():
            raise UserError(f"adapter {name}: no {file} in {path.absolute()}; expected a folder saved by PEFT")


def adapter_rank(name: str, path: Path) -> int:
    """The largest LoRA rank of the adapter in `path`. Raises UserError when its configuration gives none."""
    try:
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
        return max([int(config["r"]), *map(int, config.get("rank_pattern", {}).values())])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"adapter {name}: adapter_config.json in {path} isn't PEFT's of a LoRA: {error!r}") from None


def adapter_modules(name: str, path: Path) -> set[str]:
    """The kinds of module that the adapter in `path` changes, like {"q_proj", "v_proj"}.

    Raises UserError when the output layer is among them: vLLM would apply another request's adapter to its logits while
    it scores, or die.
    """
    modules = {key.split(".lora_")[0].split(".")[-1] for key in _shapes_of_adapter(name, path)}
    if "lm_head" in modules:
        raise UserError(
            f"adapter {name} in {path} changes lm_head, which can't be scored; merge it into its base instead"
        )
    return modules


def model_shapes(folder: Path) -> Shapes:
    """Shape of every weight in a model's folder by its name; () where it is packed."""
    shapes: Shapes = {}
    for file in sorted(folder.glob("*.safetensors")):
        shapes |= _read_shapes(file)
    return shapes


def check_adapter_fits(name: str, path: Path, base: Shapes) -> None:
    """Raises UserError when the adapter in `path` was trained on a model with other layers than the `base` has.

    vLLM copies a narrower adapter into its place, and passes over layers that it doesn't have, without a word. Modules
    whose weights are packed, or saved under names of another kind, are left to vLLM.
    """
    kinds = {_LAYER_NUMBER.sub(".N.", key) for key in base}
    for key, shape in _shapes_of_adapter(name, path).items():
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


def served_revision(stored: str, quantization: str | None) -> str:
    """Revision of a model from the one it is `stored` as: quantized while they are loaded, weights answer otherwise."""
    return stored if quantization is None else f"{stored}-{quantization}"


def model_revision(folder: Path) -> str:
    """Hash of the model's weights and configuration."""
    return _hash_files([folder / "config.json", *sorted(folder.glob("*.safetensors"))])


def adapter_revision(path: Path) -> str:
    """Hash of the adapter's weights and configuration."""
    return _hash_files([path / "adapter_config.json", path / "adapter_model.safetensors"])


def _shapes_of_adapter(name: str, path: Path) -> Shapes:
    try:
        shapes = _read_shapes(path / "adapter_model.safetensors")
    except SafetensorError as error:
        raise UserError(f"adapter {name}: adapter_model.safetensors in {path} is damaged: {error}") from None
    return {key: shape for key, shape in shapes.items() if ".lora_" in key}


def _read_shapes(file: Path) -> Shapes:
    """From the header alone, whatever the file's size."""
    with safe_open(file, framework="numpy") as opened:
        slices = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118 - it is no mapping
        return {key: tuple(one.get_shape()) if "F" in one.get_dtype() else () for key, one in slices.items()}


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.safetensors", "*.json", "*.jinja", "tokenizer*"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise UserError(
            f"can't get the model {name} from the Hugging Face hub: {reason}. Is there a folder of that name where the "
            f"teacher runs, a network, an HF_TOKEN with access to it, or a filled HF_HOME?"
        ) from None


def _hash_files(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}:{_hash_file(file)};".encode())
    return digest.hexdigest()[:REVISION_LENGTH]


def _hash_file(file: Path) -> str:
    """SHA-256 of a file. The hub's cache names large files by it, which spares reading 140 GB again."""
    target = file.resolve()
    if target.parent.name == "blobs" and len(target.name) == 64:
        return target.name
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
