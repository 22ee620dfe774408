"""The handshake: before the first step, teacher and run must mean the same by a token, and by a position."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from common.api import ServedModel, TeacherCard
from common.errors import UserError
from common.wire import SCHEMA_VERSION
from student_trainer.answers import Teacher
from student_trainer.probe import Misaligned, probe_alignment
from student_trainer.settings import TeacherSettings


class HandshakeError(UserError):
    """The teacher doesn't fit this run; the message says in what."""


@dataclass(frozen=True)
class Reader:
    """What this run reads answers with."""

    fingerprint: str
    """Of the student's tokenizer."""
    vocabulary_size: int
    """Of the student."""
    max_length: int
    """Most tokens of prompt and completion together."""


async def shake_hands(
    teacher: Teacher, settings: TeacherSettings, reader: Reader, prompts: Iterable[Sequence[int]]
) -> ServedModel:
    """Compare the teacher's card with the run, then probe the alignment of its positions after rendered prompts.

    Returns the served model, whose revision every answer must have.
    Raises HandshakeError saying all that differs, or TeacherUnavailable.
    """
    card = await teacher.teacher()
    differences = list(_differences(card, settings, reader))
    if differences:
        raise HandshakeError(f"the teacher at {settings.url} doesn't fit this run: {'; '.join(differences)}")
    try:
        await probe_alignment(teacher, settings, card, prompts)
    except Misaligned as error:
        raise HandshakeError(
            f"the teacher at {settings.url} is not aligned with its own words: {error}; check its version"
        ) from None
    return next(model for model in card.models if model.name == settings.model)


def _differences(card: TeacherCard, settings: TeacherSettings, reader: Reader) -> Iterator[str]:
    names = [model.name for model in card.models]
    if settings.model not in names:
        yield f"it serves {', '.join(names)}, expected {settings.model}: set teacher.model to one of them"
    if card.tokenizer_fingerprint != reader.fingerprint:
        yield (
            f"its tokenizer is {card.tokenizer_fingerprint[:12]}…, the student's {reader.fingerprint[:12]}…: the same "
            "ids must mean the same text, use a student of the same tokenizer"
        )
    if card.vocabulary_size != reader.vocabulary_size:
        yield (
            f"its vocabulary has {card.vocabulary_size} entries, the student's {reader.vocabulary_size}: they must be "
            "equal"
        )
    largest_k = min(card.max_top_k, card.vocabulary_size)
    if settings.top_k > largest_k:
        yield f"it gives at most {largest_k} entries per position, asked are {settings.top_k}: lower teacher.top_k"
    if reader.max_length > card.max_length:
        yield f"it takes at most {card.max_length} tokens, asked are {reader.max_length}: lower data.max_length"
    lacking = {"score", "generate"} - set(card.abilities)
    if lacking:
        yield f"it can't {' or '.join(sorted(lacking))}: serve it with both abilities"
    wire_version = card.versions.get("wire")
    if wire_version != str(SCHEMA_VERSION):
        yield f"it speaks wire version {wire_version}, expected {SCHEMA_VERSION}: update the older side"
