"""Write a world into a folder: training traces, queries, held-out traces and the corpus, none of which overlap."""

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random

from common.errors import UserError
from common.world.corpus import documents
from common.world.settings import WorldSettings
from common.world.tasks import Task, draw_task
from common.world.tools import Tool, build_catalogue
from common.world.traces import conversations, query_record

CORPUS = "corpus.jsonl"
MOST_KNOWN = 10_000
"""Queries drawn in a row that all were known before: then there are no new ones to speak of."""


def build_world(settings: WorldSettings, folder: Path) -> dict[str, int]:
    """Write the world's files into `folder` and return how many records each holds.

    train.json, seen.json, unseen_tool.json and unseen_category.json hold toolllama records, queries_train.json query
    records, corpus.jsonl documents. No query stands in two files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    catalogue = build_catalogue(settings)
    queries: set[str] = set()

    def draw(label: str, tools: tuple[Tool, ...], count: int) -> list[Task]:
        return new_tasks(Random(f"{settings.seed} {label}"), tools, count, queries)

    held_out = settings.evaluation_tasks
    traces = {
        "seen": draw("seen", catalogue.train, held_out),
        "unseen_tool": draw("unseen_tool", catalogue.unseen_tool, held_out),
        "unseen_category": draw("unseen_category", catalogue.unseen_category, held_out),
        "train": draw("train", catalogue.train, settings.train_tasks),
    }
    files = {
        f"{name}.json": [record for task in tasks for record in conversations(task)] for name, tasks in traces.items()
    }
    asked = draw("queries", catalogue.train, settings.query_tasks)
    files["queries_train.json"] = [query_record(task, number) for number, task in enumerate(asked)]
    for name, records in files.items():
        (folder / name).write_text(json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8")
    written = _write_corpus(folder / CORPUS, documents(settings.seed, settings.corpus_documents))
    return {name: len(records) for name, records in files.items()} | {CORPUS: written}


def new_tasks(rng: Random, tools: tuple[Tool, ...], count: int, queries: set[str]) -> list[Task]:
    """Draw `count` tasks whose queries are not in `queries`, and add them to it.

    Raises UserError when the tools don't give that many different queries.
    """
    tasks: list[Task] = []
    known = 0
    while len(tasks) < count:
        if known == MOST_KNOWN:
            raise UserError(f"got {count} tasks, but {len(tools)} tools gave {len(tasks)} new queries: ask for fewer")
        task = draw_task(rng, tools)
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
