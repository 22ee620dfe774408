"""The search of a rollout."""

from common.agents.search.chain import Chain
from common.agents.search.dfsdt import Dfsdt
from common.agents.search.protocol import Search
from eval.rollouts.settings import ChainSettings, DfsdtSettings


def search_of(settings: ChainSettings | DfsdtSettings) -> Search:
    """The search that `settings` name."""
    if isinstance(settings, ChainSettings):
        return Chain(settings.tries, settings.max_steps)
    return Dfsdt(settings.children, settings.max_depth, settings.max_queries, settings.answers, settings.ranked)
