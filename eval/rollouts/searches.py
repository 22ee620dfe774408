"""The search of a rollout."""

from common.agents.search.chain import Chain
from common.agents.search.protocol import Search
from eval.rollouts.settings import ChainSettings


def search_of(settings: ChainSettings) -> Search:
    """The search that `settings` name."""
    return Chain(settings.tries, settings.max_steps)
