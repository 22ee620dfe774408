"""`python -m tests.benchmarks`: run every benchmark of this folder, one after the other, and print one table."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
SHARED = {
    "epoch", "pinned_trainer", "report", "serving", "timing", "trl_json", "trl_run", "waiting_teachers", "workload",
}  # fmt: skip
"""What benchmarks import or start."""


def main() -> int:
    """0 when every benchmark ended with its line, met or not."""
    names = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in SHARED and path.stem[0] != "_")
    answers = {name: run(name) for name in names}
    Console(width=120).print(table(answers))
    return int(None in answers.values())


def run(name: str) -> dict[str, Any] | None:
    """Show what a benchmark prints and return its last line; None when it broke."""
    print(f"== {name}", flush=True)
    lines = []
    command = [sys.executable, "-m", f"tests.benchmarks.{name}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return last_answer(lines) if process.returncode == 0 else None


def last_answer(lines: list[str]) -> dict[str, Any] | None:
    """The JSON object of the last line, if it is one of a benchmark."""
    try:
        answer = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) and "figures" in answer else None


def table(answers: dict[str, dict[str, Any] | None]) -> Table:
    """One row per figure."""
    result = Table("benchmark", "figure", "value", "target", "met")
    for name, answer in answers.items():
        if answer is None:
            result.add_row(name, "broke: see above", "", "", "no")
            continue
        if not answer["figures"]:
            result.add_row(name, "not measured: see above", "", "", "no")
        for figure, value in answer["figures"].items():
            target = answer["targets"].get(figure, "")
            result.add_row(name, figure, f"{value:,.4g}", target, "yes" if answer["met"] else "no")
    return result


if __name__ == "__main__":
    sys.exit(main())
