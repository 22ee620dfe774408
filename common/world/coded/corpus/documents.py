"""The corpus: documents of all kinds, in the shares that the settings say."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

from common.world.coded.corpus.answers import Span, read_marks
from common.world.coded.corpus.lessons import copying, equal_words, other_words, recall
from common.world.coded.corpus.prose import prose
from common.world.coded.corpus.records import pages, prompts, reports
from common.world.coded.corpus.scene import Scene
from common.world.coded.domains import DOMAINS
from common.world.coded.facts import draw_table
from common.world.settings import WorldSettings

KINDS: dict[str, Callable[[Scene], str]] = {
    "copying": copying,
    "recall": recall,
    "equal_words": equal_words,
    "other_words": other_words,
    "prompts": prompts,
    "pages": pages,
    "reports": reports,
    "prose": prose,
}


class Document(NamedTuple):
    """A text, its kind, and where the answers in it stand."""

    kind: str
    text: str
    answers: tuple[Span, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """Return the document as JSON: `answers` stand there only where there are any."""
        return {key: value for key, value in self._asdict().items() if value}


def documents(settings: WorldSettings) -> Iterator[Document]:
    """Yield as many documents as `settings` say. What they tell of things is true in no world."""
    rng = Random(f"{settings.seed} corpus")
    full = settings.difficulty == "full"
    table = draw_table(rng, DOMAINS, full)
    weights = [getattr(settings.corpus, kind) for kind in KINDS]
    for kind in rng.choices(list(KINDS), weights, k=settings.corpus_documents):
        yield Document(kind, *read_marks(KINDS[kind](Scene(rng, table, full, settings.offered))))
