"""The policy of a rollout."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import islice

from common.agents.policies.served import ServedPolicy
from common.agents.policy import Policy
from common.agents.types import Task
from common.render import load_renderer
from common.teacher_client.alignment_probe import PROBE_PROMPTS
from common.teacher_client.settings import TeacherClientSettings
from eval.rollouts.environments import Environments
from eval.rollouts.policy_settings import PolicySettings
from eval.served import met


@asynccontextmanager
async def open_policy(
    settings: PolicySettings, environments: Environments, tasks: Iterable[Task]
) -> AsyncIterator[Policy]:
    """The policy that `settings` name, once its service passed the handshake on openings of `tasks`.

    Raises UserError.
    """
    renderer = load_renderer(settings.tokenizer, settings.template, settings.max_length)
    asked = TeacherClientSettings(
        url=settings.url,
        model=settings.model,
        top_k=1,
        token_file=settings.token_file,
        timeout_s=settings.timeout_s,
        patience_s=settings.patience_s,
    )
    environment = environments.make()
    try:
        openings = [await environment.reset(task) for task in islice(tasks, PROBE_PROMPTS)]
    finally:
        await environment.close()
    prompts = [renderer.turn_ids(tuple(opening)) for opening in openings]
    async with met(asked, renderer, settings.max_length, prompts) as teacher:
        yield ServedPolicy(teacher, asked, renderer, settings.max_length, settings.provenance)
