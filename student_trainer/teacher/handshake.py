"""The handshake: before it is asked, teacher and run must mean the same by a token, and by a position."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from common.api import TeacherCard
from common.errors import UserError
from common.wire import SCHEMA_VERSION
from student_trainer.pipeline.recorded_teacher import Teacher
from student_trainer.settings import TeacherSettings
from student_trainer.teacher.probe import Misaligned, probe_alignment
from student_trainer.teacher.revisions import Revisions


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


class Handshake:
    """What each endpoint of the teacher must pass, when it is first met and whenever it may have been replaced.

    Its card must fit the run, its revision be one that the run takes, and its positions be aligned after `prompts`,
    token ids of rendered prompts. Until `begun` is set, the run has not begun: all must serve the same revision.
    """

    def __init__(
        self, settings: TeacherSettings, reader: Reader, prompts: Iterable[Sequence[int]], revisions: Revisions
    ) -> None:
        self._settings, self._reader, self._prompts = settings, reader, list(prompts)
        self._revisions = revisions
        self.begun = False
        self._met: dict[str, str] = {}  # url → revision
        self._aligned: set[tuple[str, str]] = set()

    async def check(self, url: str, teacher: Teacher, card: TeacherCard, revision: str | None = None) -> None:
        """Compare `card`, of the teacher at `url`, with the run, then probe what wasn't probed yet.

        `revision` is that of an answer it gave, where this is why it is looked at. Raises HandshakeError saying all
        that differs, UserError for a revision that the run doesn't take, CallFailed.
        """
        if differences := list(_differences(card, self._settings, self._reader)):
            raise HandshakeError(f"the teacher at {url} doesn't fit this run: {'; '.join(differences)}")
        served = next(model.revision for model in card.models if model.name == self._settings.model)
        self._check_all_the_same(url, served)
        for each in (served, revision or served):
            self._revisions.check(each, self._settings.model)
        probed = {(url, served), (url, revision or served)}
        if not probed <= self._aligned:
            await self._probe(url, teacher, card)
            self._aligned |= probed

    def _check_all_the_same(self, url: str, revision: str) -> None:
        self._met[url] = revision
        for other, found in self._met.items():
            if not self.begun and found != revision:
                raise HandshakeError(
                    f"got revision {revision} of {self._settings.model} from {url} and {found} from {other}, expected "
                    "the same: serve the same weights at every address of teacher.url"
                )

    async def _probe(self, url: str, teacher: Teacher, card: TeacherCard) -> None:
        try:
            await probe_alignment(teacher, self._settings, card, self._prompts)
        except Misaligned as error:
            raise HandshakeError(
                f"the teacher at {url} is not aligned with its own words: {error}; check its version"
            ) from None


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
