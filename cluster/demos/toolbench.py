"""The live pipeline on real ToolBench input. A check of the pipeline, marked as such, never an evaluation of models.

1. Convert ToolBench's answer trees, 641 StableToolBench queries and ToolBench's example queries (the held-out slice).
2. Make a tokenizer and a teacher base from the answer trees, and a smaller student base.
3. Bring up Ray with a teacher pool and a student pool.
4. Train the teacher: LoRA on its base.
5. Deploy it behind HTTP.
6. Stream the queries: the teacher writes every completion live, and the student learns its distribution.
7. Control: the same record with the distributions permuted between completions must not teach the same.
"""

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from rich.table import Table

from cluster.demos.findings import print_findings
from cluster.demos.live_checks import ids_check, kl_checks, read_summary
from cluster.demos.runner import DemoCluster, DemoRun, application, new_run, served
from cluster.demos.settings import ToolBenchDemoSettings
from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings
from common.errors import UserError
from common.layouts.toolbench import ToolBenchLayout
from common.run_folder import RunFolder
from common.toolbench.rows import PromptRow, read_rows
from student_trainer.record.permuted import permute_record

ANSWER_TREES = "ToolBench/data_example/answer"
QUERIES = "StableToolBench/solvable_queries/test_instruction"
HELD_OUT = "ToolBench/data_example/instruction"


def run_toolbench_demo(settings: ToolBenchDemoSettings) -> int:
    """Run the check on the data in `settings.toolbench`; 0 when it passed, 1 when a check of its end failed."""
    run = new_run(settings.runs, "toolbench", steps=7)
    step, folder = run.console.step, run.folder
    with ExitStack() as stack:
        with step("Converting real answer trees and queries", 10):
            convert(run, settings.toolbench)
        with step("Making tokenizer, teacher base and student base from the answer trees", 150):
            bases = make_bases(run, settings)
        with step("Starting Ray on this machine: a head, a teacher pool, a student pool", 15):
            cluster = DemoCluster(run, stack.enter_context(local_cluster(ClusterSettings())))
        with step("Training the teacher: LoRA on its base, on the answer trees", 120):
            traces = {"data.train": folder / "data/traces", "student.model": bases["teacher"]}
            expert = cluster.train(settings.expert, "expert", traces)
        with step("Deploying the teacher: Ray Serve and vLLM", 40):
            url = cluster.serve(application("teacher", served(run, settings, bases["teacher"], {"expert": expert})))
        queries = {
            "data.train": folder / "data/queries",
            "data.validation": folder / "data/held_out",
            "student.model": bases["student"],
            "teacher.url": f"{url}/teacher",
            "teacher.token_file": run.token_file,
        }
        with step("Distilling live: the teacher writes a completion for every query", 400):
            live = cluster.train(settings.kd, "kd", queries)
        with step("Control: the same answers, distributions permuted between completions", 250):
            permute_record(RunFolder(live).record, folder / "permuted")
            replay = {"teacher.source": "record", "teacher.record_folder": folder / "permuted"}
            control = cluster.train(settings.kd, "control", queries | replay)
    return report(run, live, control)


def convert(run: DemoRun, toolbench: Path) -> None:
    """Real files into rows. Raises UserError when `toolbench` isn't laid out as expected."""
    sources = {"traces": ANSWER_TREES, "queries": QUERIES, "held_out": HELD_OUT}
    for name, source in sources.items():
        path = (toolbench / source).resolve()
        if not path.is_dir():
            raise UserError(f"got TOOLBENCH={toolbench}, which has no folder {source}; give the folder that holds it")
        run.command("common.toolbench", "convert", path, run.folder / "data" / name)


def make_bases(run: DemoRun, settings: ToolBenchDemoSettings) -> dict[str, Path]:
    """Pretrain the two base models; return their folders."""
    folder = run.folder
    traces = list(read_rows(folder / "data/traces"))
    write_documents(folder / "traces.jsonl", map(whole_text, traces))
    write_documents(folder / "prompts.jsonl", (prompt_text(row) for row in traces if row.step == 1))
    bases = {"teacher": folder / "teacher-base", "student": folder / "student-base"}
    run.command(
        "student_trainer", "pretrain", settings.teacher_base,
        "--documents", f"[{folder / 'traces.jsonl'}]", "--out", bases["teacher"],
    )  # fmt: skip
    run.command(
        "student_trainer", "pretrain", settings.student_base, "--documents", f"[{folder / 'prompts.jsonl'}]",
        "--out", bases["student"], "--tokenizer.path", bases["teacher"],
    )  # fmt: skip
    return bases


def prompt_text(row: PromptRow) -> str:
    """The prompt as one string, in the layout that the renderer uses."""
    return "".join(segment.text for segment in ToolBenchLayout().prompt(row.turns))


def whole_text(row: PromptRow) -> str:
    """Prompt and recorded completion as one string."""
    return prompt_text(row) + (row.completion or "")


def write_documents(path: Path, texts: Iterable[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def report(run: DemoRun, live: Path, control: Path) -> int:
    """Print speed, size and the checks of the run folders `live` and `control`; 0 when all of them held."""
    run.console.print(summary_table(live))
    checks = [ids_check(run.folder / "data/queries", live), *kl_checks(live, control)]
    print_findings(run.console, checks)
    run.console.end(f"A check of the pipeline, not of models. Everything it made is in {run.folder}")
    return 0 if all(check.holds for check in checks) else 1


def summary_table(live: Path) -> Table:
    """Speed and size of the live run."""
    summary = read_summary(live)
    rows = {
        "prompts used": f"{summary['used']:,}",
        "prompts quarantined": f"{summary['quarantined']:,}",
        "completions cut by length, dropped": f"{summary['dropped_by_length']:,}",
        "tokens per second": f"{summary['tokens_per_s']:,.0f}",
        "bytes per position": f"{summary['bytes_per_position']:,.0f}",
        "time waited for the teacher": f"{summary['waited_fraction']:.0%}",
    }
    table = Table(title="Live distillation on real ToolBench queries", show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return table
