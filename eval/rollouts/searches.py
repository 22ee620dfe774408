"""The search of a rollout, made from its settings."""

from collections.abc import Callable

from common.agents.episodes import Bound
from common.agents.policy import Policy
from common.agents.search.chain import Chain
from common.agents.search.dfsdt import Dfsdt
from common.agents.search.early_exit import EarlyExit
from common.agents.search.first_thought import FirstThought, PrefixStore
from common.agents.search.protocol import Search
from common.agents.search.voting import Sag, SamplingAndVoting
from eval.rollouts.search_settings import (
    ChainSettings,
    DfsdtSettings,
    EarlyExitSettings,
    SearchSettings,
    VotingSettings,
)
from eval.rollouts.settings import RolloutSettings


def search_maker(settings: RolloutSettings, helper: Policy | None) -> Callable[[Bound], Search]:
    """What makes an episode's search, as `settings` name it; `helper`, in the episode's bounds, goes on behind an exit.

    Raises UserError where the file of first thoughts can't be read.
    """
    store = PrefixStore(settings.first_thoughts) if settings.first_thoughts else None

    def make(bound: Bound) -> Search:
        search = _search(settings.search, bound(helper) if helper else None)
        return FirstThought(search, store) if store else search

    return make


def _search(settings: SearchSettings, helper: Policy | None) -> Search:
    match settings:
        case ChainSettings():
            return Chain(settings.tries, settings.max_steps)
        case DfsdtSettings():
            return Dfsdt(settings.children, settings.max_depth, settings.max_queries, settings.answers, settings.ranked)
        case VotingSettings():
            return SamplingAndVoting(settings.answers, settings.max_steps, settings.form)
        case EarlyExitSettings():
            return EarlyExit(settings.max_steps, settings.intrinsic, settings.extrinsic, settings.every, None, helper)
        case _:
            return Sag(settings.candidates, settings.temperature, settings.top_p, settings.max_steps)
