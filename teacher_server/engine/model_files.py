"""A model's weights on disk: where they are, and a revision that changes whenever they do."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from safetensors import safe_open

from common.errors import UserError

REVISION_LENGTH = 16
Shapes = dict[str, tuple[int, ...]]


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


def model_shapes(folder: Path) -> Shapes:
    """Shape of every weight in a model's folder by its name; () where it is packed."""
    shapes: Shapes = {}
    for file in sorted(folder.glob("*.safetensors")):
        shapes |= read_shapes(file)
    return shapes


def served_revision(stored: str, quantization: str | None) -> str:
    """Revision of a model from the one it is `stored` as: quantized while they are loaded, weights answer otherwise."""
    return stored if quantization is None else f"{stored}-{quantization}"


def model_revision(folder: Path) -> str:
    """Hash of the model's weights and configuration."""
    return hash_files([folder / "config.json", *sorted(folder.glob("*.safetensors"))])


def read_shapes(file: Path) -> Shapes:
    """Shape of every weight in a safetensors file, () where it is packed: from the header alone, whatever its size."""
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


def hash_files(files: Iterable[Path]) -> str:
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
