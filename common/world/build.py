"""Write a world into a folder: training traces, queries, held-out traces and the corpus, none of which overlap."""

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random

from common.errors import UserError
from common.world.corpus import documents
from common.world.entities import Facts
from common.world.saved import QUERIES, Record, save_settings, task_record, tasks_file
from common.world.settings import WorldSettings
from common.world.tasks import Task, draw_task
from common.world.tools import Tool
from common.world.traces import conversations, query_record
from common.world.world import make_world

CORPUS = "corpus.jsonl"
MOST_KNOWN = 10_000
"""Queries drawn in a row that all were known before: then there are no new ones to speak of."""


def build_world(settings: WorldSettings, folder: Path) -> dict[str, int]:
    """Write the world's files into `folder` and return how many records each holds.

    train.json, seen.json, unseen_tool.json and unseen_category.json hold toolllama records, queries_train.json query
    records, corpus.jsonl documents, tasks_SPLIT.json the tasks of each, world.json the settings. No query stands in two
    splits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    splits = draw_splits(settings)
    files: dict[str, list[Record]] = {}
    for split, tasks in splits.items():
        files[f"{split}.json"] = (
            [query_record(task, number) for number, task in enumerate(tasks)]
            if split == QUERIES
            else [record for task in tasks for record in conversations(task)]
        )
        records = [task_record(task, f"{split}-{number}") for number, task in enumerate(tasks)]
        _write(tasks_file(folder, split), records)
    for name, records in files.items():
        _write(folder / name, records)
    save_settings(folder, settings)
    written = _write_corpus(folder / CORPUS, documents(settings.seed, settings.corpus_documents))
    return {name: len(records) for name, records in files.items()} | {CORPUS: written}


def draw_splits(settings: WorldSettings) -> dict[str, list[Task]]:
    """Return the tasks of every split of the world."""
    world = make_world(settings)
    catalogue, held_out = world.catalogue, settings.evaluation_tasks
    queries: set[str] = set()

    def draw(label: str, tools: tuple[Tool, ...], count: int) -> list[Task]:
        return new_tasks(Random(f"{settings.seed} {label}"), tools, world.table, count, queries)

    return {
        "seen": draw("seen", catalogue.train, held_out),
        "unseen_tool": draw("unseen_tool", catalogue.unseen_tool, held_out),
        "unseen_category": draw("unseen_category", catalogue.unseen_category, held_out),
        "train": draw("train", catalogue.train, settings.train_tasks),
        QUERIES: draw("queries", catalogue.train, settings.query_tasks),
    }


def new_tasks(rng: Random, tools: tuple[Tool, ...], facts: Facts, count: int, queries: set[str]) -> list[Task]:
    """Draw `count` tasks whose queries are not in `queries`, and add them to it.

    Raises UserError when the tools don't give that many different queries.
    """
    tasks: list[Task] = []
    known = 0
    while len(tasks) < count:
        if known == MOST_KNOWN:
            raise UserError(f"got {count} tasks, but {len(tools)} tools gave {len(tasks)} new queries: ask for fewer")
        task = draw_task(rng, tools, facts)
        if task.query not in queries:
            queries.add(task.query)
            tasks.append(task)
            known = 0
        else:
            known += 1
    return tasks


def _write_corpus(path: Path, texts: Iterable[str]) -> int:
    with path.open("w", encoding="utf-8") as file:
        return sum(bool(file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")) for text in texts)


def _write(path: Path, records: list[Record]) -> None:
    path.write_text(json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8")
