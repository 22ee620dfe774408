"""Whether a request is taken: its model, its size, and what is being answered already.

Overload is refused here, in the replica itself, below Ray Serve's own limits.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from fastapi import Request

from common.api import DistillSequence, ServedModel, TeacherCard
from teacher_server.http.errors import ApiError
from teacher_server.settings import LimitSettings


class Admission:
    """Counts the requests, sequences and tokens being answered, and refuses those that would be too many."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._requests = 0
        self._sequences = 0
        self._tokens = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_progress(self) -> tuple[int, int]:
        """Requests and sequences being answered."""
        return self._requests, self._sequences

    async def close(self, patience_s: float) -> None:
        """Refuse whatever comes from now on; return once all is answered, or after `patience_s` seconds."""
        self._closed = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), patience_s)

    @contextmanager
    def admit(self, connection: Request, sequences: int, tokens: int) -> Iterator[None]:
        """`hold` for the request of `connection`, whose sequences the access log then knows."""
        connection.state.sequences = sequences
        with self.hold(sequences, tokens):
            yield

    @contextmanager
    def hold(self, sequences: int, tokens: int = 0) -> Iterator[None]:
        """Count one request of so many `sequences` and `tokens` while the context lasts.

        Raises ApiError (503 with Retry-After) when it would be too many; never when nothing else is being answered.
        Refuses everything once it is closed.
        """
        limits = self._limits
        if self._closed:
            message = "this replica is shutting down; ask again, another one will answer"
            raise ApiError(503, "shutting_down", message, retry_after_s=limits.retry_after_s)
        full = (
            self._requests >= limits.max_requests
            or self._sequences + sequences > limits.max_sequences
            or self._tokens + tokens > limits.max_tokens
        )
        if self._requests and full:
            message = (
                f"{self._requests} requests with {self._sequences} sequences and {self._tokens} tokens are being "
                "answered; come again later"
            )
            raise ApiError(503, "overloaded", message, retry_after_s=limits.retry_after_s)
        self._requests += 1
        self._sequences += sequences
        self._tokens += tokens
        self._idle.clear()
        try:
            yield
        finally:
            self._requests -= 1
            self._sequences -= sequences
            self._tokens -= tokens
            if not self._requests:
                self._idle.set()


def find_model(name: str, card: TeacherCard) -> ServedModel:
    """The served model of that name. Raises ApiError (404) when there is none."""
    model = next((model for model in card.models if model.name == name), None)
    if model is None:
        names = ", ".join(model.name for model in card.models)
        raise ApiError(404, "model_not_found", f"got the model {name!r}; this teacher serves {names}", "model")
    return model


def check_top_k(top_k: int, card: TeacherCard, param: str) -> None:
    """Raises ApiError (422) when the teacher with this card gives fewer entries per position."""
    if top_k > card.max_top_k:
        message = f"{param}: got {top_k}, this teacher gives at most {card.max_top_k}"
        raise ApiError(422, "invalid_value", message, param)


def check_size(
    sequences: Sequence[DistillSequence],
    top_k: int,
    limits: LimitSettings,
    params: tuple[str, str],
) -> int:
    """Tokens of a request, given and to be written. Raises ApiError (422) when they are too many for one request.

    `params` are the fields that the error names for too many tokens and for too many logprobs.
    """
    tokens_param, top_k_param = params
    written = [_completion_tokens(sequence) for sequence in sequences]
    tokens = sum(written) + sum(len(sequence.prompt_token_ids) for sequence in sequences)
    if tokens > limits.max_request_tokens:
        message = f"{tokens_param}: got {tokens} tokens, given and to be written, expected at most"
        raise ApiError(
            422, "request_too_large", f"{message} {limits.max_request_tokens}; send fewer sequences", tokens_param
        )
    entries = sum(written) * top_k
    if entries > limits.max_request_entries:
        message = (
            f"{top_k_param}: {sum(written)} completion tokens times {top_k} are {entries} logprobs, expected at most"
        )
        raise ApiError(
            422, "request_too_large", f"{message} {limits.max_request_entries}; send fewer sequences", top_k_param
        )
    return tokens


def _completion_tokens(sequence: DistillSequence) -> int:
    if sequence.completion_token_ids is not None:
        return len(sequence.completion_token_ids)
    return sequence.generate.max_tokens * sequence.generate.n if sequence.generate else 0
