"""What workers do for scoring, against a log-softmax of all rows at once.

Legend: P = prompt length, k = entries per row, H = hidden size, V = vocabulary size.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.sampling_params import SamplingParams
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.sample.sampler import Sampler

from teacher_server.vllm.patches.prompt_scorer import FIRST_ROW, ScoringWorker, poisoned, rows_at_once

H, V = 8, 40


class Runner:
    """As much of a model runner as prompts need: embeddings as hidden states, a head, requests in progress."""

    def __init__(self, prompts: dict[str, list[int]], first_rows: dict[str, int], k: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.embeddings = torch.randn(V, H, generator=generator)
        self.head = torch.randn(H, V, generator=generator)
        self.device = torch.device("cpu")
        self.sampler = Sampler()
        self.model = SimpleNamespace(compute_logits=self._compute_logits)
        self.num_prompt_logprobs = dict.fromkeys(prompts, k)
        self.requests = {name: self._request(ids, first_rows.get(name)) for name, ids in prompts.items()}
        self.input_batch = SimpleNamespace(req_id_to_index={}, vocab_size=V)
        self.query_start_loc = SimpleNamespace(np=torch.zeros(0))
        self.largest = 0
        self.asked_of_vllm: list[str] = []

    def _request(self, ids: list[int], first: int | None) -> SimpleNamespace:
        params = SamplingParams(prompt_logprobs=1, extra_args=None if first is None else {FIRST_ROW: first})
        return SimpleNamespace(
            prompt_token_ids=ids, sampling_params=params, num_computed_tokens=0, in_progress_prompt_logprobs_cpu=None
        )

    def _compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        self.largest = max(self.largest, len(hidden_states))
        return hidden_states @ self.head

    def _get_prompt_logprobs_dict(
        self, hidden_states: torch.Tensor, num_scheduled_tokens: dict[str, int]
    ) -> dict[str, LogprobsTensors | None]:
        self.asked_of_vllm += self.num_prompt_logprobs
        self.num_prompt_logprobs.clear()
        return dict.fromkeys(self.asked_of_vllm)

    def _sync_device(self) -> None:
        """Nothing runs apart."""

    def step(self, **tokens: int) -> Any:
        """Compute the next so many tokens of some requests; returns what is finished."""
        chunks, starts = [], [0]
        for name, count in tokens.items():
            request = self.requests[name]
            self.input_batch.req_id_to_index[name] = len(chunks)
            computed = [*request.prompt_token_ids, 0][request.num_computed_tokens :][:count]
            chunks.append(self.embeddings[torch.tensor(computed)])
            starts.append(starts[-1] + count)
        self.query_start_loc.np = torch.tensor(starts)
        finished = self._get_prompt_logprobs_dict(torch.cat(chunks), tokens)
        for name, count in tokens.items():
            self.requests[name].num_computed_tokens += count
        return finished

    def naive(self, name: str) -> torch.Tensor:
        """[P - 1, V]"""
        return (self.embeddings[self.requests[name].prompt_token_ids[:-1]] @ self.head).log_softmax(-1)


def scoring(prompts: dict[str, list[int]], first_rows: dict[str, int], k: int = 5, logits_rows: int = 3) -> Runner:
    runner, worker = Runner(prompts, first_rows, k), ScoringWorker()
    worker.model_runner = runner
    assert worker.install_scoring(logits_rows) == ""
    return runner


def assert_rows(runner: Runner, name: str, tensors: LogprobsTensors, first: int, k: int = 5) -> None:
    expected, ids = runner.naive(name)[first:], torch.tensor(runner.requests[name].prompt_token_ids[first + 1 :])
    assert torch.equal(tensors.logprob_token_ids[:, 0].long(), ids)
    assert torch.allclose(tensors.logprobs[:, 0], expected.gather(1, ids[:, None])[:, 0], atol=1e-6)
    assert torch.equal(tensors.logprob_token_ids[:, 1:].long(), expected.topk(k).indices)
    assert torch.allclose(tensors.logprobs[:, 1:], expected.topk(k).values, atol=1e-6)


@pytest.mark.parametrize("steps", [[21], [20, 1], [7, 13, 1], [1] * 21, [9, 12]])
@pytest.mark.parametrize("first", [0, 6, 19])
def test_only_wanted_rows_are_computed_however_the_prompt_is_cut(steps: list[int], first: int):
    runner = scoring({"a": [(7 * i) % V for i in range(21)]}, {"a": first})
    finished = [runner.step(a=tokens) for tokens in steps]
    assert finished[:-1] == [{}] * (len(steps) - 1)
    assert_rows(runner, "a", finished[-1]["a"], first)
    assert runner.largest <= 3
    assert runner.num_prompt_logprobs == {}
    assert runner.requests["a"].in_progress_prompt_logprobs_cpu is None


def test_rows_of_cached_tokens_stay_poisoned():
    runner = scoring({"a": list(range(20))}, {"a": 4})
    runner.requests["a"].num_computed_tokens = 10
    tensors = runner.step(a=10)["a"]
    assert torch.isnan(tensors.logprobs[:6]).all()
    assert not torch.isnan(tensors.logprobs[6:]).any()


def test_a_preempted_request_that_resumes_from_the_cache_keeps_what_it_had():
    runner = scoring({"a": list(range(20))}, {"a": 2})
    runner.step(a=6)
    runner.requests["a"].num_computed_tokens = 9  # rows 6 to 8 were computed by another request
    tensors = runner.step(a=11)["a"]
    assert torch.isnan(tensors.logprobs).all(1).nonzero()[:, 0].tolist() == [4, 5, 6]


def test_requests_of_one_step_don_t_mix_and_vllm_keeps_its_own():
    prompts = {name: [(7 * i + place) % V for i in range(8 + place)] for place, name in enumerate("abc")}
    runner = scoring(prompts, {"a": 3, "c": 0})
    finished = runner.step(a=8, b=9, c=6)
    assert runner.asked_of_vllm == ["b"]
    assert finished.keys() == {"a", "b"}
    assert_rows(runner, "a", finished["a"], 3)
    assert runner.num_prompt_logprobs == {"c": 5}
    assert_rows(runner, "c", runner.step(c=4)["c"], 0)


def test_another_model_runner_is_left_alone():
    worker = ScoringWorker()
    worker.model_runner = SimpleNamespace(device="cpu")
    assert "isn't the V1 model runner: it lacks ['_get_prompt_logprobs_dict'" in worker.install_scoring(None)


def test_logits_are_bounded_by_the_vocabulary():
    assert rows_at_once(128_256, torch.device("cuda")) * 128_256 * 4 <= 2**28
    assert rows_at_once(10**9, torch.device("cpu")) == 64
    assert torch.isnan(poisoned(3, 2).logprobs).all()
