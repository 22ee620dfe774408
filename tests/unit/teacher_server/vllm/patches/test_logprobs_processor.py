"""Arrays as vLLM's output processor handles them, against vLLM's own flat logprobs; and what we lean on in vLLM.

Legend: n = rows, k = entries per row.
"""

import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vllm.logprobs import FlatLogprobs
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.logprobs import LogprobsProcessor
from vllm.v1.outputs import LogprobsLists, LogprobsTensors

from teacher_server.settings import EngineSettings
from teacher_server.vllm.completion_logprobs import from_flat
from teacher_server.vllm.patches import compat
from teacher_server.vllm.patches.logprob_rows import LogprobRows
from teacher_server.vllm.patches.logprobs_processor import ArrayLogprobsProcessor
from teacher_server.vllm.scoring import READABLE_AS_ARRAYS, Scoring, exact

K = 3


def draw_rows(n: int, width: int = K + 1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(n)
    return generator.integers(0, 99, (n, width), np.int32), -generator.random((n, width), np.float32)


def processor(extra_args: dict[str, Any] | None) -> LogprobsProcessor:
    params = SamplingParams(logprobs=K, prompt_logprobs=K, flat_logprobs=True, extra_args=extra_args)
    return ArrayLogprobsProcessor.from_new_request(None, SimpleNamespace(sampling_params=params))


def test_both_collectors_give_the_same_positions():
    arrays, flat = processor(READABLE_AS_ARRAYS), processor(None)
    for one in (arrays, flat):
        ids, logprobs = draw_rows(5)
        ranks = np.ones(5, np.int32)
        one._update_prompt_logprobs(LogprobsTensors(*map(torch.from_numpy, (ids, logprobs, ranks))))
        for n in (1, 2, 1):
            one._update_sample_logprobs(LogprobsLists(*draw_rows(n, K + 3), np.ones(n, np.int32)))
    assert arrays.cumulative_logprob == pytest.approx(flat.cumulative_logprob, abs=1e-6)
    for ours, theirs, first in (
        (arrays.logprobs, flat.logprobs, 0),
        (arrays.prompt_logprobs, flat.prompt_logprobs, 1),  # vLLM's begin with an empty row
    ):
        assert isinstance(ours, LogprobRows)
        got, expected = from_flat(ours, 0, K, 50, "stop", "r0"), from_flat(theirs, first, K, 50, "stop", "r0")
        for name, values in vars(expected).items():
            np.testing.assert_array_equal(getattr(got, name), values)


def test_prompt_rows_that_were_read_make_room_for_new_ones():
    one = processor(READABLE_AS_ARRAYS)
    for n in (2, 3):
        tensors = LogprobsTensors(*map(torch.from_numpy, draw_rows(n)), torch.zeros(0))
        one._update_prompt_logprobs(tensors)
        assert len(one.pop_prompt_logprobs()) == n
        assert one.prompt_logprobs == []


def assert_holds(rows: LogprobRows, ids: np.ndarray, logprobs: np.ndarray) -> None:
    for got, expected in zip(rows.columns, (ids[:, 0], logprobs[:, 0], ids[:, 1:], logprobs[:, 1:]), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_rows_grow_and_are_cut_like_a_list():
    rows, expected = LogprobRows.empty(K), [np.zeros((0, K + 1))] * 2
    assert not rows
    for n in (1, 1, 3, 20):
        rows.extend(LogprobRows.of(*draw_rows(n)))
        expected = [np.concatenate(both) for both in zip(expected, draw_rows(n), strict=True)]
        assert_holds(rows, *expected)
    for cut in (slice(-2, None), slice(0), slice(3, 7)):
        assert_holds(rows[cut], *(each[cut] for each in expected))
    part = rows[-2:]
    part.extend(LogprobRows.of(*draw_rows(1)))
    assert (len(part), len(rows)) == (3, 25)
    assert_holds(rows, *expected)


@pytest.mark.parametrize("arrays", [True, False])
def test_what_is_not_a_number_is_no_exact_answer_by_either_route(arrays: bool):
    ids, logprobs = draw_rows(2)
    for broken in (False, True):
        logprobs[1, K] = np.nan if broken else -9
        flat = FlatLogprobs(token_ids=ids.ravel().tolist(), logprobs=logprobs.ravel().tolist())
        output: Any = SimpleNamespace(
            num_cached_tokens=0, prompt_logprobs=LogprobRows.of(ids, logprobs) if arrays else flat
        )
        assert exact(output, 0, ids[:, 0].tolist()) is not broken


def test_rows_of_another_width_are_no_answer():
    with pytest.raises(ValueError, match="got rows of 4 entries, expected 6"):
        from_flat(LogprobRows.of(*draw_rows(2)), 0, 5, 50, "scored", "r0")


def test_vllm_is_the_one_that_the_array_path_was_tested_with():
    assert compat.moved() == []
    locks = [path.read_text() for path in Path("requirements").glob("*.*")]
    assert set(re.findall(r"^vllm(?:-cpu)?==([\d.]+)", "\n".join(locks), re.M)) == {compat.TESTED_VERSION}


def test_another_vllm_takes_the_public_route_in_one_logged_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    assert compat.moved("0.33.1") == ["version 0.33.1, tested with 0.32.0"]
    monkeypatch.setattr(LogprobsProcessor, "_update_sample_logprobs", lambda self, lists, weights: None)
    monkeypatch.setattr("teacher_server.vllm.scoring.current_platform.is_cpu", lambda: True)
    scoring = Scoring(EngineSettings())
    with caplog.at_level(logging.WARNING):
        assert scoring.engine_arguments() == {"block_size": 32}
    (line,) = caplog.messages
    assert "public route" in line
    assert "LogprobsProcessor._update_sample_logprobs takes ['self', 'lists', 'weights']" in line
    (params,) = scoring.attempts(4, K)
    assert params.skip_reading_prefix_cache
    assert not params.extra_args
