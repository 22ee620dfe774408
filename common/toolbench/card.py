"""The card of converted rows, by which `datasets.load_dataset(FOLDER)` reads their shards row for row."""

from pathlib import Path

CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: part-*.parquet
---

# ToolBench prompts

{rows} rows of {traces} conversations, converted from `{source}`{changes}. Each row is everything before one assistant
turn, and that turn:

| column | holds |
|---|---|
| `id` | unique |
| `query` | what the user asked for |
| `turns` | role and content of all turns before the completion, the system prompt first |
| `completion` | the recorded turn, a call in ReAct's form; null where nothing was recorded |
| `trace`, `step` | the conversation, and which of its assistant turns the completion is |
| `group` | a label, such as the split |

`datasets.load_dataset(FOLDER)` reads them. What the conversion left out is in `skipped.jsonl`. The source's licence
applies.
"""


def write_card(folder: Path, source: str, rows: int, traces: int, changes: str = "") -> None:
    """Write the card of the shards in `folder`; of a local `source` it tells the name alone."""
    source = source if source.startswith("hf:") else Path(source).name
    (folder / "README.md").write_text(
        CARD.format(source=source, rows=rows, traces=traces, changes=changes), encoding="utf-8"
    )
