"""The HTTP bodies: limits, unknown fields, one task per sequence."""

from typing import Any

import pytest
from pydantic import ValidationError

from common.api import (
    MAX_SAMPLES,
    MAX_SEQUENCES,
    MAX_STOP_CHARACTERS,
    MAX_STOPS,
    MAX_TOP_K,
    DistillRequest,
    DistillSequence,
    GenerateOptions,
)

SCORE = {"id": "a", "prompt_token_ids": [1], "completion_token_ids": [2]}
WRITE = {"id": "b", "prompt_token_ids": [1], "generate": {"max_tokens": 4}}


def request(**changes: Any) -> dict[str, Any]:
    return {"model": "teacher", "top_k": 8, "sequences": [SCORE, WRITE]} | changes


def test_the_exact_body():
    body = DistillRequest.model_validate(request())
    assert body.model_dump(exclude_none=True) == {
        "model": "teacher",
        "top_k": 8,
        "logprob_dtype": "float16",
        "sequences": [
            SCORE,
            WRITE
            | {
                "generate": {
                    "max_tokens": 4,
                    "temperature": 1.0,
                    "top_p": 1.0,
                    "stop_token_ids": [],
                    "stop": [],
                    "n": 1,
                }
            },
        ],
    }
    assert DistillRequest.model_validate_json(body.model_dump_json()) == body


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"temprature": 1}, "temprature"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": MAX_TOP_K + 1}, "top_k"),
        ({"sequences": []}, "sequences"),
        ({"sequences": [SCORE] * (MAX_SEQUENCES + 1)}, "sequences"),
        ({"sequences": [SCORE | {"prompt_token_ids": [-1]}]}, "prompt_token_ids"),
        ({"sequences": [SCORE | {"prompt_token_ids": [2**31]}]}, "prompt_token_ids"),
        ({"logprob_dtype": "float64"}, "logprob_dtype"),
        ({"sequences": [SCORE | {"id": "\ud800"}]}, "id"),
    ],
)
def test_bad_bodies_are_refused_by_field(changes: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as error:
        DistillRequest.model_validate(request(**changes))
    assert any(field in problem["loc"] for problem in error.value.errors())


@pytest.mark.parametrize("body", [SCORE | WRITE, {"id": "c", "prompt_token_ids": [1]}])
def test_a_sequence_has_exactly_one_task(body: dict[str, Any]):
    with pytest.raises(ValidationError, match="exactly one of"):
        DistillSequence.model_validate(body)


def test_samples_are_sequences_of_their_own_with_seeds_in_a_row():
    options = {"max_tokens": 4, "n": 3, "seed": 2**63 - 2}
    body = DistillRequest.model_validate(request(sequences=[SCORE, WRITE, WRITE | {"id": "c", "generate": options}]))
    samples = body.samples()
    assert [sample.id for sample in samples] == ["a", "b", "c/0", "c/1", "c/2"]
    assert [sample.generate.seed for sample in samples if sample.generate] == [None, 2**63 - 2, 2**63 - 1, 0]
    assert all(len(sample.samples()) == 1 for sample in samples)
    assert body.number_of_answers == len(samples)


def test_samples_count_in_the_bound_of_sequences():
    many = {"max_tokens": 1, "n": MAX_SAMPLES}
    sequences = [WRITE | {"id": str(number), "generate": many} for number in range(MAX_SEQUENCES // MAX_SAMPLES)]
    DistillRequest.model_validate(request(sequences=sequences))
    with pytest.raises(ValidationError, match=r"257 answers.*at most 256"):
        DistillRequest.model_validate(request(sequences=[*sequences, SCORE]))


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": float("nan")},
        {"top_p": 0},
        {"seed": -1},
        {"max_tokens": 0},
        {"n": 0},
        {"n": "2"},
        {"n": MAX_SAMPLES + 1},
        {"stop": [""]},
        {"stop": ["x" * (MAX_STOP_CHARACTERS + 1)]},
        {"stop": ["x"] * (MAX_STOPS + 1)},
        {"stop": ["\udfff"]},
    ],
)
def test_sampling_options_are_bounded(options: dict[str, Any]):
    with pytest.raises(ValidationError):
        GenerateOptions.model_validate({"max_tokens": 1} | options)
