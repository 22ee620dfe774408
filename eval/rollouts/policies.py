"""The policy of a rollout, opened from its settings."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import islice

from common.agents.environment import InfrastructureFailure
from common.agents.policies.endpoint import EndpointPolicy
from common.agents.policies.served import ServedPolicy
from common.agents.policy import Policy
from common.agents.types import Task
from common.errors import UserError
from common.render import Renderer, load_renderer
from common.teacher_client.alignment_probe import PROBE_PROMPTS
from common.teacher_client.settings import TeacherClientSettings
from eval.endpoint import open_endpoint
from eval.rollouts.environments import Environments
from eval.rollouts.policy_settings import EndpointPolicySettings, PolicySettings, ServedPolicySettings
from eval.served import met


@asynccontextmanager
async def open_policy(
    settings: PolicySettings, environments: Environments, tasks: Iterable[Task], revision: str | None = None
) -> AsyncIterator[Policy]:
    """The policy that `settings` name; a served model must pass the handshake on openings of `tasks`.

    It must be of `revision` where one is given.

    Raises UserError.
    """
    if isinstance(settings, EndpointPolicySettings):
        async with open_endpoint(settings) as endpoint:
            yield EndpointPolicy(endpoint, settings.provenance)
        return
    renderer = load_renderer(settings.tokenizer, settings.template, settings.max_length)
    asked = _asked(settings)
    prompts = await _prompts(renderer, environments, tasks)
    async with met(asked, renderer, settings.max_length, prompts, revision) as teacher:
        yield ServedPolicy(teacher, asked, renderer, settings.max_length, settings.provenance)


def _asked(settings: ServedPolicySettings) -> TeacherClientSettings:
    return TeacherClientSettings(
        url=settings.url,
        model=settings.model,
        top_k=1,
        token_file=settings.token_file,
        timeout_s=settings.timeout_s,
        patience_s=settings.patience_s,
    )


async def _prompts(renderer: Renderer, environments: Environments, tasks: Iterable[Task]) -> list[list[int]]:
    """Ids of the first tasks' openings. Raises UserError where infrastructure gives none."""
    environment = environments.make()
    try:
        openings = [await environment.reset(task) for task in islice(tasks, PROBE_PROMPTS)]
    except InfrastructureFailure as failure:
        raise UserError(f"no episode can begin: {failure}; mend the environment and start again") from None
    finally:
        await environment.close()
    return [renderer.turn_ids(tuple(opening)) for opening in openings]
