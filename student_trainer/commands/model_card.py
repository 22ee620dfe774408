"""The card of an exported student, `README.md` with the header that the Hugging Face hub reads: what it is made of.

What nobody said, such as a licence, is called not stated: it is never guessed.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.run_folder import RunFolder
from student_trainer.pipeline.teacher_revision import recall
from student_trainer.settings import TrainSettings

NOT_STATED = "not stated"
MEASURES = {"loss": "loss (nats)", "valid": "valid form", "same_action": "same action", "arguments_equal": "arguments"}
"""What an evaluation's JSON file says of a split under `measures`, with its headings here."""


@dataclass(frozen=True)
class CardOptions:
    """What the run folder doesn't say."""

    license: str | None = None
    """Licence of the student, an identifier of the hub's, as apache-2.0."""
    teacher_license: str | None = None
    """Licence of the teacher, whose terms may bind what learnt from it."""
    scores: Path | None = None
    """What `python -m eval score` wrote of it."""


@dataclass(frozen=True)
class Split:
    """What an evaluation found on a split."""

    name: str
    rows: int
    values: dict[str, float]
    """Of MEASURES, those that it has."""


def card(run: Path, settings: TrainSettings, whole: bool, options: CardOptions) -> str:
    """The card of the student of the finished `run`, which is a `whole` model or an adapter.

    Raises UserError when the scores can't be read or don't tell which of several models this is.
    """
    name = run.resolve().name
    splits = _splits(options.scores, name) if options.scores else []
    summary = json.loads(RunFolder(run).summary.read_bytes())
    parts = [
        f"---\n{_header(name, settings, whole, options, splits)}\n---",
        f"# {name}",
        "A tool-using agent's student, trained by ToolAgent-KD"
        + (" on its teacher's distribution." if settings.teacher else " on recorded completions."),
        _table(("", ""), [*_origin(run, settings, options), *_training(settings, summary)]),
        "## Results",
        _results(summary, splits),
    ]
    return "\n\n".join(parts) + "\n"


def _header(name: str, settings: TrainSettings, whole: bool, options: CardOptions, splits: list[Split]) -> str:
    """The YAML header, as huggingface_hub writes it; a base in a local folder has no name on the hub."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult("text-generation", "toolbench", split.name, measure, split.values[measure])
        for split in splits
        for measure in split.values
    ]
    base = settings.student.model
    header = ModelCardData(
        base_model=None if Path(base).exists() else base,
        eval_results=results or None,
        library_name="transformers" if whole else "peft",
        license=options.license,
        model_name=name,
        tags=["tool-use", "agents", *(["distillation"] if settings.teacher else [])],
    )
    return str(header.to_yaml())


def _origin(run: Path, settings: TrainSettings, options: CardOptions) -> Iterator[tuple[str, str]]:
    yield "base", _named(settings.student.model)
    yield "licence", options.license or f"{NOT_STATED}; the base's and the data's terms apply"
    yield "data", f"{_named(settings.data.train)}{_source(settings.data.train)}"
    if settings.teacher:
        yield "teacher", f"{settings.teacher.model}, revision {recall(run) or NOT_STATED}"
        yield "teacher's licence", options.teacher_license or NOT_STATED


def _training(settings: TrainSettings, summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    student, loss, optimizer = settings.student, settings.loss, settings.optimizer
    lora = f"LoRA of rank {student.lora.rank}, alpha {student.lora.alpha}" if student.lora else "every weight"
    yield "learnt", f"{lora}; base in {student.quantization if student.quantization != 'none' else student.dtype}"
    if settings.teacher:
        writers = ", ".join(f"{writer} {share:.0%}" for writer, share in settings.completion.writer.items())
        yield "loss", f"{loss.divergence}, alpha {loss.alpha:g}, T {loss.temperature:g}, top {settings.teacher.top_k}"
        yield "completions written by", writers
    else:
        yield "loss", "cross-entropy"
    yield "optimizer", f"{optimizer.name}, learning rate {optimizer.learning_rate:g}, {optimizer.schedule}"
    yield "steps", f"{summary.get('steps')} of {settings.batch_size} prompts; seed {settings.seed}"
    yield "prompts used", f"{summary.get('used')}, {summary.get('tokens')} tokens"
    yield "layout", f"{settings.data.template}, at most {settings.data.max_length} tokens"


def _results(summary: dict[str, Any], splits: list[Split]) -> str:
    parts = []
    before, after = summary.get("validation_before"), summary.get("validation_after")
    if before and after:
        held_out = [(name, f"{before[name]:.4g}", f"{after[name]:.4g}") for name in after if name in before]
        parts.append(_table(("held-out rows", "before", "after"), held_out))
    if splits:
        scored = [
            (split.name, str(split.rows), *(_figure(split.values.get(measure)) for measure in MEASURES))
            for split in splits
        ]
        parts.append(_table(("split", "rows", *MEASURES.values()), scored))
    return "\n\n".join(parts) or f"{NOT_STATED.capitalize()}: neither validated nor scored."


def _splits(file: Path, name: str) -> list[Split]:
    """The scores of the model `name` in `file`, split by split; of the only one, where there is one."""
    try:
        judgements = json.loads(file.read_bytes())["judgements"]
        models = {each["model"] for each in judgements}
        splits = [_split(each) for each in judgements if each["model"] == name or len(models) == 1]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file} holds no scores; expected what `python -m eval score` writes") from None
    if not splits:
        raise UserError(f"{file} scores {', '.join(sorted(models))}, none of them called {name}; call it so and score")
    return splits


def _split(judgement: dict[str, Any]) -> Split:
    values = {name: judgement["measures"].get(name, {}).get("value") for name in MEASURES}
    found = {name: float(value) for name, value in values.items() if value is not None}
    return Split(str(judgement["group"]), int(judgement["rows"]), found)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _figure(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}"


def _named(path: str | Path) -> str:
    """A name of the hub's as it is; of a local folder the last part alone, which says nothing of a machine."""
    return Path(path).name if Path(path).exists() else str(path)


def _source(data: Path) -> str:
    """What the data's own card says of them, in its first sentence."""
    file = data / "README.md"
    text = file.read_text("utf-8") if file.is_file() else ""
    sentence = text.partition("\n# ")[2].partition("\n\n")[2].partition(". ")[0]
    return f": {' '.join(sentence.split())}" if sentence else ""
