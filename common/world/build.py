"""Write a world into a folder: its tasks as traces, as queries and for its environment, and the corpus."""

import json
from collections.abc import Iterable
from pathlib import Path

from common.world.coded.corpus.documents import Document
from common.world.corpus import corpus
from common.world.saved import Record, save_settings, task_record, tasks_file
from common.world.settings import WorldSettings
from common.world.splits import QUERIES, draw_splits
from common.world.traces import conversations, query_record

CORPUS = "corpus.jsonl"


def build_world(settings: WorldSettings, folder: Path) -> dict[str, int]:
    """Write the world's files into `folder` and return how many records each holds.

    train.json, seen.json, unseen_tool.json and unseen_category.json hold toolllama records, queries_train.json query
    records, tasks_SPLIT.json the tasks of each, corpus.jsonl documents, world.json the settings. No query stands in two
    splits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, tasks in draw_splits(settings).items():
        records = (
            [query_record(task, number) for number, task in enumerate(tasks)]
            if split == QUERIES
            else [record for task in tasks for record in conversations(task)]
        )
        counts[f"{split}.json"] = _write(folder / f"{split}.json", records)
        _write(tasks_file(folder, split), [task_record(task, f"{split}-{number}") for number, task in enumerate(tasks)])
    save_settings(folder, settings)
    return counts | {CORPUS: _write_corpus(folder / CORPUS, corpus(settings))}


def _write_corpus(path: Path, documents: Iterable[Document]) -> int:
    with path.open("w", encoding="utf-8") as file:
        lines = (json.dumps(document.to_record(), ensure_ascii=False) for document in documents)
        return sum(bool(file.write(line + "\n")) for line in lines)


def _write(path: Path, records: list[Record]) -> int:
    path.write_text(json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8")
    return len(records)
