"""Eight ways in which an answer can be wrong although its stream is whole.

Legend: T = positions of the completion, k = entries per position, V = vocabulary size.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from fastapi import Response

from common import wire
from common.wire import TeacherAnswer
from tests.faults.relay import Spoil
from tests.stand_in_tokenizer import VOCABULARY_SIZE

Way = Callable[[TeacherAnswer], TeacherAnswer]


def _logprob(answer: TeacherAnswer, value: float) -> TeacherAnswer:
    """The first position's most likely entry has the logprob `value`."""
    logprobs = answer.topk_logprobs.copy()
    logprobs[0, 0] = value
    return replace(answer, topk_logprobs=logprobs)


def _mass(answer: TeacherAnswer) -> TeacherAnswer:
    """Every entry has a half of the mass."""
    return replace(answer, topk_logprobs=np.full_like(answer.topk_logprobs, np.log(0.5)))


def _id(answer: TeacherAnswer, entry: int, id: int) -> TeacherAnswer:
    ids = answer.topk_ids.copy()
    ids[0, entry] = id
    return replace(answer, topk_ids=ids)


def _shorter(answer: TeacherAnswer) -> TeacherAnswer:
    """The last position is missing."""
    names = ("token_ids", "token_logprobs", "topk_ids", "topk_logprobs", "tail_logprob")
    return replace(answer, **{name: getattr(answer, name)[:-1] for name in names})


def _other_tokens(answer: TeacherAnswer) -> TeacherAnswer:
    """The same text by another tokenizer: other ids in the same places."""
    return replace(answer, token_ids=(answer.token_ids + 1) % VOCABULARY_SIZE)


WAYS: dict[str, Way] = {
    "NaN": lambda answer: _logprob(answer, np.nan),
    "infinite": lambda answer: _logprob(answer, np.inf),
    "above 0": lambda answer: _logprob(answer, 0.5),
    "too much mass": _mass,
    "an id outside the vocabulary": lambda answer: _id(answer, -1, VOCABULARY_SIZE),
    "a duplicate": lambda answer: _id(answer, 1, int(answer.topk_ids[0, 0])),
    "a row too few": _shorter,
    "another tokenizer": _other_tokens,
}


def spoil_once(ids: Sequence[str]) -> Spoil:
    """The first answer to each of `ids` is wrong in the next of the WAYS, all others are left as they are."""
    left = set(ids)

    def spoil(id: str, response: Response) -> Response:
        if id not in left:
            return response
        way = list(WAYS.values())[len(left) % len(WAYS)]
        left.remove(id)
        (answer,) = wire.decode(bytes(response.body))
        return Response(wire.encode([way(answer)], answer.top_k), media_type=response.media_type)

    return spoil
