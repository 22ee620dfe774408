"""Weights on disk: where they are, and a revision that changes whenever they do."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import safe_open

from common.errors import UserError

REVISION_LENGTH = 16


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


def adapter_rank(path: Path) -> int:
    """The largest LoRA rank of the adapter in `path`."""
    config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    return max([config["r"], *config.get("rank_pattern", {}).values()])


def adapter_modules(name: str, path: Path) -> set[str]:
    """The kinds of module that the adapter in `path` changes, like {"q_proj", "v_proj"}.

    Raises UserError when the output layer is among them: vLLM would apply another request's adapter to its logits while
    it scores, or die.
    """
    with safe_open(path / "adapter_model.safetensors", framework="numpy") as file:
        keys: list[str] = file.keys()
    modules = {key.split(".lora_")[0].split(".")[-1] for key in keys if ".lora_" in key}
    if "lm_head" in modules:
        raise UserError(
            f"adapter {name} in {path} changes lm_head, which can't be scored; merge it into its base instead"
        )
    return modules


def model_revision(folder: Path) -> str:
    """Hash of the model's weights and configuration."""
    return _hash_files([folder / "config.json", *sorted(folder.glob("*.safetensors"))])


def adapter_revision(path: Path) -> str:
    """Hash of the adapter's weights and configuration."""
    return _hash_files([path / "adapter_config.json", path / "adapter_model.safetensors"])


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
