"""The handshake: before it is asked, teacher and run must mean the same by a token, and by a position."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from common.api import TeacherCard
from common.errors import UserError
from common.render import Renderer
from common.teacher_client.alignment_probe import Misaligned, probe_alignment
from common.teacher_client.pool import TeacherPool
from common.teacher_client.protocol import Teacher
from common.teacher_client.settings import TeacherClientSettings
from common.wire import SCHEMA_VERSION

log = logging.getLogger(__name__)


class Revisions:
    """The first one it is told of; another stops the run, or is accepted and logged, as `policy` says."""

    def __init__(self, policy: Literal["stop", "accept"], first: str | None = None) -> None:
        self._policy = policy
        self._accepted = [] if first is None else [first]

    @property
    def first(self) -> str | None:
        """The run's own; None before the first answer."""
        return self._accepted[0] if self._accepted else None

    @property
    def newest(self) -> str | None:
        """The last that was taken in."""
        return self._accepted[-1] if self._accepted else None

    def check(self, revision: str, model: str) -> None:
        """Take `revision` of `model` in.

        Raises UserError for one that differs from the first, unless the policy is to accept it.
        """
        if not self._accepted:
            self._accepted.append(revision)
        if revision in self._accepted:
            return
        if self._policy == "stop":
            raise UserError(
                f"got revision {revision} of {model}, the run began with {self.first}; serve that one again, start a "
                "new run, or take both with on_new_revision: accept"
            )
        log.warning("got revision %s of %s, the run began with %s: accepted", revision, model, self.first)
        self._accepted.append(revision)


class HandshakeError(UserError):
    """The teacher doesn't fit this run; the message says in what."""


class Handshake:
    """What each endpoint of the teacher must pass, when it is first met and whenever it may have been replaced.

    Its card must fit the run, its revision be one that the run takes, and its positions be aligned after `prompts`,
    token ids of rendered prompts. Until all were met, they must serve the same revision.
    """

    def __init__(
        self,
        settings: TeacherClientSettings,
        renderer: Renderer,
        max_length: int,
        prompts: Iterable[Sequence[int]],
        revisions: Revisions,
    ) -> None:
        """`renderer` makes what is asked; `max_length` bounds prompt and completion together, in tokens."""
        self._settings, self._renderer, self._max_length = settings, renderer, max_length
        self._prompts = list(prompts)
        self._revisions = revisions
        self._begun = False
        self._said_ends: set[int] = set()
        self._met: dict[str, str] = {}  # url → revision
        self._aligned: set[tuple[str, str]] = set()

    async def meet(self, pool: TeacherPool) -> None:
        """Meet the endpoints of `pool`, which was opened with `check`; a new revision is the policy's matter from then.

        Raises UserError: one doesn't fit, or none comes up as long as patience lasts.
        """
        await pool.meet()
        self._begun = True

    async def check(self, url: str, teacher: Teacher, card: TeacherCard, revision: str | None = None) -> None:
        """Compare `card`, of the teacher at `url`, with the run, then probe what wasn't probed yet.

        `revision` is that of an answer it gave, where this is why it is looked at. Raises HandshakeError saying all
        that differs, UserError for a revision that the run doesn't take, CallFailed.
        """
        if differences := list(_differences(card, self._settings, self._renderer, self._max_length)):
            raise HandshakeError(f"the teacher at {url} doesn't fit this run: {'; '.join(differences)}")
        served = next(model.revision for model in card.models if model.name == self._settings.model)
        self._check_all_the_same(url, served)
        self._say_other_ends(card)
        for each in (served, revision or served):
            self._revisions.check(each, self._settings.model)
        probed = {(url, served), (url, revision or served)}
        if not probed <= self._aligned:
            await self._probe(url, teacher, card)
            self._aligned |= probed

    def _check_all_the_same(self, url: str, revision: str) -> None:
        self._met[url] = revision
        for other, found in self._met.items():
            if not self._begun and found != revision:
                raise HandshakeError(
                    f"got revision {revision} of {self._settings.model} from {url} and {found} from {other}, expected "
                    "the same: serve the same weights at every address of url"
                )

    def _say_other_ends(self, card: TeacherCard) -> None:
        """A completion that the teacher ends by an end of its own teaches that one; nothing is wrong with that."""
        others = sorted(set(card.end_token_ids) - set(self._renderer.stop_token_ids) - self._said_ends)
        if others:
            self._said_ends |= set(others)
            log.warning("the teacher also ends with the tokens %s, which the student's files don't name", others)

    async def _probe(self, url: str, teacher: Teacher, card: TeacherCard) -> None:
        try:
            await probe_alignment(teacher, self._settings, card, self._prompts)
        except Misaligned as error:
            raise HandshakeError(
                f"the teacher at {url} is not aligned with its own words: {error}; check its version"
            ) from None


def _differences(
    card: TeacherCard, settings: TeacherClientSettings, renderer: Renderer, max_length: int
) -> Iterator[str]:
    """Why a teacher with such a card is of no use; nothing is compared that isn't used."""
    names = [model.name for model in card.models]
    if settings.model not in names:
        yield f"it serves {', '.join(names)}, expected {settings.model}: set model to one of them"
    yield from _different_tokens(card, renderer)
    largest_k = min(card.max_top_k, card.vocabulary_size)
    if settings.top_k > largest_k:
        yield f"it gives at most {largest_k} entries per position, asked are {settings.top_k}: lower top_k"
    if max_length > card.max_length:
        yield f"it takes at most {card.max_length} tokens, asked are {max_length}: lower max_length"
    lacking = {"score", "generate"} - set(card.abilities)
    if lacking:
        yield f"it can't {' or '.join(sorted(lacking))}: serve it with both abilities"
    wire_version = card.versions.get("wire")
    if wire_version != str(SCHEMA_VERSION):
        yield f"it speaks wire version {wire_version}, expected {SCHEMA_VERSION}: update the older side"


def _different_tokens(card: TeacherCard, renderer: Renderer) -> Iterator[str]:
    """Rows of the output layer beyond the tokenizer may differ: their mass belongs to the tail."""
    if card.tokenizer_fingerprint != renderer.fingerprint:
        yield (
            f"its tokenizer is {card.tokenizer_fingerprint[:12]}…, the student's {renderer.fingerprint[:12]}…: the "
            "same ids must mean the same text, use a student of the same tokenizer"
        )
        return
    theirs, ours = card.terminators.get(renderer.template), renderer.terminator
    if theirs != ours:
        yield (
            f"an assistant turn ends with token {theirs} under its template {renderer.template}, with {ours} under the "
            "student's: set the same eos_token, or end of turn, in both tokenizers' folders"
        )
    if renderer.template != "toolbench" and card.chat_template_fingerprint != renderer.chat_template_fingerprint:
        yield (
            f"its chat template is {(card.chat_template_fingerprint or 'none')[:12]}…, the student's "
            f"{(renderer.chat_template_fingerprint or 'none')[:12]}…: put the same chat_template.jinja into both, "
            "or set template: toolbench"
        )
