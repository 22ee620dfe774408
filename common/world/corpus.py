"""The documents that a world's base models are pretrained on."""

from collections.abc import Iterator

from common.world.coded.corpus.documents import Document
from common.world.coded.corpus.documents import documents as coded_documents
from common.world.named.corpus import documents as named_documents
from common.world.settings import WorldSettings


def corpus(settings: WorldSettings) -> Iterator[Document]:
    """Yield the corpus of the world of `settings`."""
    if settings.difficulty != "named":
        return coded_documents(settings)
    return (Document("named", text) for text in named_documents(settings.seed, settings.corpus_documents))
