"""How many tokens the student need not read when steps of one trace train together, on ToolBench's real traces.

`python -m tests.benchmarks.trace_merging`. Each template renders the steps of all traces. `separate` are the tokens of
the rows one by one, `merged` those of the merged traces that hold them; their ratio is what is saved where all rows of
a trace meet. Then the same in the steps of a run that shuffles traces or rows, with 8 or 32 rows a worker: there are
few real traces, so COPIES of each, told apart by their first words, stand for a data set of usual size.

The data is `../shared/data` beside the repository; without it only that is said.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cluster.demos.toolbench import ANSWER_TREES, whole_text
from common.render import Renderer, Template
from common.toolbench.convert import convert
from common.toolbench.rows import PromptRow, Turn, read_rows, write_rows
from student_trainer.batching.prefix_sharing import merge_traces
from student_trainer.data.plan import Example, Key
from student_trainer.data.prompt_stream import PromptStream
from student_trainer.pretraining.settings import TokenizerSettings
from student_trainer.pretraining.tokenizer import train_tokenizer
from tests.benchmarks.report import finish

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
VOCABULARY, COPIES = 1024, 40
TEMPLATES: tuple[Template, ...] = ("chat", "toolbench")
SHUFFLES: tuple[Literal["rows", "traces"], ...] = ("traces", "rows")
SHARES = (8, 32)
CHAT = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
"""Closes every turn, as the templates of Llama 3 and ChatML do."""
TARGETS = {"chat_ratio": "reported", "toolbench_ratio": "1: its layout closes the last turn alone"}


def main() -> None:
    if not DATA.is_dir():
        print(f"nothing is measured: no real traces at {DATA}")
        finish("trace_merging", {}, TARGETS, met=False)
        return
    with tempfile.TemporaryDirectory() as folder:
        convert(DATA / ANSWER_TREES, Path(folder) / "rows", skip_bad=True)
        rows = list(read_rows(Path(folder) / "rows"))
        copies = Path(folder) / "copies"
        write_rows(copies, (copy_of(row, number) for number in range(COPIES) for row in rows))
        figures = {name: value for template in TEMPLATES for name, value in measure(rows, copies, template)}
    finish("trace_merging", figures, TARGETS, met=figures["chat_ratio"] > 1 == figures["toolbench_ratio"])


def copy_of(row: PromptRow, number: int) -> PromptRow:
    first, *turns = row.turns
    told_apart = Turn(first.role, f"{number}. {first.content}")
    return replace(row, id=f"{row.id}/{number}", trace=f"{row.trace}/{number}", turns=(told_apart, *turns))


def measure(rows: list[PromptRow], copies: Path, template: Template) -> Iterator[tuple[str, float]]:
    """Figures of `rows`, rendered with a tokenizer trained on them (four characters a token), and of their `copies`."""
    settings = TokenizerSettings(vocabulary_size=VOCABULARY, most_phrases=0)
    tokenizer = train_tokenizer([whole_text(row) for row in rows], settings)
    tokenizer.chat_template = CHAT
    renderer = Renderer(tokenizer, template, None)
    separate, merged = count(rows, renderer)
    print(f"{template}: {len(rows)} steps of {len({row.trace for row in rows})} traces, {separate:,} tokens")
    print(f"  merged {merged:,}: ratio {separate / merged:.2f}")
    yield f"{template}_separate", separate
    yield f"{template}_merged", merged
    yield f"{template}_ratio", round(separate / merged, 3)
    for shuffle in SHUFFLES:
        stream = PromptStream(copies, seed=0, shuffle=shuffle)
        ordered = [stream.row(0, index) for index in range(len(stream))]
        for share in SHARES:
            chunks = (ordered[start : start + share] for start in range(0, len(ordered), share))
            steps = [count(step, renderer) for step in chunks]
            ratio = sum(apart for apart, _ in steps) / sum(together for _, together in steps)
            print(f"  {shuffle} shuffled, {share} rows a worker and step: ratio {ratio:.2f}")
            yield f"{template}_{shuffle}_{share}", round(ratio, 3)


def count(rows: list[PromptRow], renderer: Renderer) -> tuple[int, int]:
    """Tokens of the rows apart, and of their merged traces."""
    traces = merge_traces([Example(renderer.sequence(row), None, Key(0, place)) for place, row in enumerate(rows)])
    merged = sum(map(len, traces))
    return merged + sum(trace.tokens_saved for trace in traces), merged


if __name__ == "__main__":
    main()
