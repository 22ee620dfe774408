"""Train a byte-level BPE tokenizer on documents.

Words come apart from their quotes, brackets and underscores, so that a name is the same tokens wherever it stands.
Runs of words which many documents share, such as the lines of a fixed system prompt, become one token each.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from student_trainer.pretraining.settings import TokenizerSettings

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
_WORDS = r" ?[a-z]+|[A-Z]+[a-z]*|[0-9]|\n|: |[^A-Za-z0-9\n]+"
_PHRASE_WORDS = 4
"""Fewest words of a phrase."""
_BREAKS = ("\n", ":")
"""How a word begins that no phrase crosses: the end of a line, or a label's colon."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ ('Function' if message['role'] == 'tool' else message['role'] | capitalize) + ': ' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
"""Turns of system, user, assistant and tool as `Role: text` lines; an assistant's turn ends with EOS."""


def train_tokenizer(documents: Sequence[str], settings: TokenizerSettings) -> PreTrainedTokenizerFast:
    """Return a tokenizer of at most `settings.vocabulary_size` entries, phrases and special tokens among them."""
    tokenizer = Tokenizer(models.BPE())
    documents = [_cut(text, settings.heading) for text in documents]
    words = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    phrases = find_phrases([_split(words, text) for text in documents], settings.phrase_share, settings.most_phrases)
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary_size - len(phrases) - bool(settings.heading),
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_without(documents, phrases), trainer)
    added = [*phrases, settings.heading] if settings.heading else phrases
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in added])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def find_phrases(documents: Sequence[list[str]], share: float, most: int) -> list[str]:
    """Return the runs of words that stand in at least `share` of `documents`, the most characters saved first.

    A run never crosses the end of a line nor a label's colon, where a renderer may begin a new segment.
    """
    fewest = max(2, round(share * len(documents)))
    pairs = Counter(pair for document in documents for pair in set(pairwise(document)))
    common = {pair for pair, count in pairs.items() if count >= fewest and not _breaks(pair)}
    runs = Counter(run for document in documents for run in set(_runs(document, common)))
    phrases = [run for run, count in runs.items() if count >= fewest]
    phrases.sort(key=lambda run: (-len(run) * runs[run], run))
    return phrases[:most]


def _cut(text: str, heading: str | None) -> str:
    """Put the end of a line in place of `heading`, which no phrase crosses."""
    return text.replace(heading, "\n") if heading else text


def _runs(document: list[str], common: set[tuple[str, str]]) -> Iterator[str]:
    """Yield the longest runs of `document` of which every pair of neighbours is common."""
    run = document[:1]
    for pair in pairwise(document):
        if pair not in common:
            if len(run) >= _PHRASE_WORDS:
                yield "".join(run)
            run = []
        run.append(pair[1])
    if len(run) >= _PHRASE_WORDS:
        yield "".join(run)


def _breaks(pair: tuple[str, str]) -> bool:
    return any(word.startswith(_BREAKS) for word in pair)


def _split(words: pre_tokenizers.Split, text: str) -> list[str]:
    return [word for word, _ in words.pre_tokenize_str(text)]


def _without(documents: Sequence[str], phrases: list[str]) -> Iterator[str]:
    """Yield the documents less their phrases, which need no merges."""
    for text in documents:
        for phrase in phrases:
            text = text.replace(phrase, "\n")
        yield text
