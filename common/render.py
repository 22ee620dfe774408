"""The one renderer: rows become token ids here for training, teacher and evaluation alike.

Legend: P = prompt length, T = completion length, in tokens. Every segment is tokenised by itself, so that the boundary
between prompt and completion never merges, and only trusted segments may hold special tokens.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from common.end_tokens import end_token_ids
from common.errors import UserError
from common.fingerprints import chat_template_fingerprint, tokenizer_fingerprint
from common.layouts.chat import ChatLayout
from common.layouts.offsets import TokenOffsets
from common.layouts.segments import Layout, TemplateMisfit, TextSegment
from common.layouts.toolbench import ToolBenchLayout, kept_apart
from common.layouts.tools import ToolsLayout
from common.sequences import Sequence
from common.tool_calls import ParsedTurn
from common.toolbench.react import PARTS, Part
from common.toolbench.rows import PromptRow, Turn
from common.unusable_rows import DoesNotFit, DoesNotRender

Template = Literal["toolbench", "chat", "tools"]


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """Load the fast tokenizer of a model folder or hub name.

    Raises UserError when there is none.
    """
    try:
        return PreTrainedTokenizerFast.from_pretrained(str(path))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"no fast tokenizer at {path} ({reason}); expected a folder with tokenizer.json") from None


def load_renderer(path: str, template: Template, max_length: int | None) -> "Renderer":
    """The renderer of the model in a folder or of a hub name: its tokenizer, and all its ends of sequence."""
    return Renderer(load_tokenizer(path), template, max_length, end_token_ids(path))


def terminator(tokenizer: PreTrainedTokenizerFast, template: Template) -> int:
    """The id that ends an assistant turn under `template`.

    That is the first special token that the template writes after the turn; the end of sequence where it writes none.
    Raises UserError when the tokenizer has no end of sequence, or no chat template that can be used.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no end-of-sequence token; set eos_token in its tokenizer_config.json")
    end = _layout(tokenizer, template).completion((Turn("user", "question"),), "answer").end
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    written = _SegmentEncoder(tokenizer).ids([TextSegment("".join(segment.text for segment in end), True)])
    return next((id for id in written if id in special), int(tokenizer.eos_token_id))


def terminators(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """`terminator` of every template that can be used with this tokenizer."""
    found: dict[str, int] = {}
    for template in get_args(Template):
        with suppress(UserError):
            found[template] = terminator(tokenizer, template)
    return found


class Renderer:
    """Renders rows with one tokenizer and one template.

    `max_length` bounds P + T in tokens; None sets no bound. `end_ids` are ends of sequence that the model has besides
    the tokenizer's. Raises UserError when the tokenizer has none, or no chat template that can be used.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        template: Template,
        max_length: int | None,
        end_ids: Iterable[int] = (),
    ) -> None:
        self.template = template
        self.terminator = terminator(tokenizer, template)
        """The id that ends an assistant turn."""
        self.stop_token_ids = sorted({self.terminator, int(tokenizer.eos_token_id), *end_ids})
        """Ids that end a completion: the template's end of turn, and the tokenizer's and model's ends of sequence."""
        self._tokenizer = tokenizer
        self._encoder = _SegmentEncoder(tokenizer)
        self._encode = self._encoder.ids
        self._layout = _layout(tokenizer, template)
        self._max_length = max_length
        starts_with_bos = template == "toolbench" and tokenizer.encode("")[:1] == [tokenizer.bos_token_id]
        self._start = [tokenizer.bos_token_id] if starts_with_bos else []

    @property
    def chat_template_fingerprint(self) -> str | None:
        """`chat_template_fingerprint` of its tokenizer."""
        return chat_template_fingerprint(self._tokenizer)

    @property
    def fingerprint(self) -> str:
        """`tokenizer_fingerprint` of its tokenizer."""
        return tokenizer_fingerprint(self._tokenizer)

    def prompt_ids(self, row: PromptRow) -> list[int]:
        """The P ids up to where the completion begins.

        Raises UnusableRow: DoesNotFit when they leave no room for a single token of completion, DoesNotRender.
        """
        with _naming(row):
            ids = self.turn_ids(row.turns)
        self._check_fit(row, len(ids), 1)
        return ids

    def turn_ids(self, turns: tuple[Turn, ...]) -> list[int]:
        """Ids of `turns` up to where the next assistant turn begins. Raises TemplateMisfit."""
        return self._start + self._encode(self._layout.prompt(kept_apart(turns, self._layout.openings)))

    def completion_ids(self, text: str, turns: tuple[Turn, ...] = (Turn("user", "question"),)) -> list[int]:
        """The T ids of an assistant turn's `text` after `turns`, its terminator last. Raises TemplateMisfit."""
        return self._completion_ids(turns, text)

    def opening_ids(self, turns: tuple[Turn, ...], text: str) -> list[int]:
        """Ids with which the assistant's turn after `turns` begins, where it begins with `text`."""
        return self._encode(self._layout.completion(turns, text).turn)

    def sequence(self, row: PromptRow) -> Sequence:
        """The row as training sees it: its prompt and its recorded completion.

        Raises UnusableRow: DoesNotFit when P + T exceeds the longest sequence, DoesNotRender; UserError when nothing
        was recorded.
        """
        if row.completion is None:
            raise UserError(f"row {row.id} has no recorded completion; train on it with completions of the teacher")
        prompt = self.prompt_ids(row)
        with _naming(row):
            completion = self._completion_ids(row.turns, row.completion)
        self._check_fit(row, len(prompt), len(completion))
        return Sequence(row.id, tuple(prompt), tuple(completion), "dataset", "stop")

    def parts(self, row: PromptRow) -> list[Part]:
        """To which part of its step each of the T tokens of the row's recorded completion belongs.

        A token belongs where its first character stands. Labels open their part, what stands before the Action is the
        Thought, and the terminator closes the Action Input. Raises as `sequence` does.
        """
        sequence = self.sequence(row)
        turn, end = self._layout.completion(kept_apart(row.turns, self._layout.openings), row.completion or "")
        segments = [*turn, *end]
        action, action_input = self._layout.part_starts("".join(segment.text for segment in segments))
        starts = self._offsets.starts(segments)[: len(sequence.completion_ids) - 1]
        return [*(PARTS[(start >= action) + (start >= action_input)] for start in starts), PARTS[-1]]

    def text(self, completion_ids: Iterable[int]) -> str:
        """The text of a completion without its terminator."""
        ids = list(completion_ids)
        if ids and ids[-1] in self.stop_token_ids:
            ids.pop()
        return str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def parse_turn(self, text: str, finish_offered: bool = False) -> ParsedTurn:
        """A turn that a model wrote, as `text` gives it, as content and calls.

        ToolBench's Finish is an answer without a call, unless `finish_offered`: the caller offers it himself.
        """
        return self._layout.parse(text, finish_offered)

    def react(self, text: str) -> str:
        """A turn that a model wrote in ToolBench's form, which format checks, environments and later prompts read.

        Where the template gives calls a form of its own, what has that form is said in ToolBench's, without reasoning.
        """
        return self._layout.react(text)

    @cached_property
    def _offsets(self) -> TokenOffsets:
        return TokenOffsets(self._encoder.backends)

    def _completion_ids(self, turns: tuple[Turn, ...], text: str) -> list[int]:
        turn, end = self._layout.completion(kept_apart(turns, self._layout.openings), text)
        closing = [*self._encode(end), self.terminator]
        return self._encode(turn) + closing[: closing.index(self.terminator) + 1]

    def _check_fit(self, row: PromptRow, prompt: int, completion: int) -> None:
        if self._max_length is not None and prompt + completion > self._max_length:
            raise DoesNotFit(
                f"row {row.id}: a prompt of {prompt} and a completion of {completion} tokens, together more than "
                f"{self._max_length}; raise max_length, or leave the row aside: cutting it would lose its API list"
            )


class _SegmentEncoder:
    """Encodes each segment by itself; only trusted ones may hold special tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.backends = {trusted: _backend(tokenizer, not trusted) for trusted in (True, False)}
        """The tokenizer for trusted segments, and that for others."""

    def ids(self, segments: Iterable[TextSegment]) -> list[int]:
        """The ids of the segments, one behind the other."""
        ids: list[int] = []
        for segment in segments:
            ids += _encode(self.backends[segment.trusted], segment.text)
        return ids


def _encode(backend: Tokenizer, text: str) -> list[int]:
    """A batch of one is encoded without holding Python's lock, so that other threads go on; a single text isn't."""
    (encoding,) = backend.encode_batch_fast([text], add_special_tokens=False)
    return list(encoding.ids)


def _backend(tokenizer: PreTrainedTokenizerFast, ignore_special_tokens: bool) -> Tokenizer:
    """A copy of the tokenizer's backend, so that its settings are ours alone."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = ignore_special_tokens
    return backend


def _layout(tokenizer: PreTrainedTokenizerFast, template: Template) -> Layout:
    if template == "toolbench":
        return ToolBenchLayout()
    return ToolsLayout(tokenizer) if template == "tools" else ChatLayout(tokenizer)


@contextmanager
def _naming(row: PromptRow) -> Iterator[None]:
    """Raises DoesNotRender with the row's id where the block raises TemplateMisfit."""
    try:
        yield
    except TemplateMisfit as error:
        raise DoesNotRender(f"row {row.id}: {error}") from None
