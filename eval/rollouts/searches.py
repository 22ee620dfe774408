"""The search of a rollout, made from its settings."""

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


def search_of(settings: RolloutSettings, policy: Policy, helper: Policy | None) -> Search:
    """The search that `settings` name; where it has something ranked or verified, `policy` itself judges."""
    search = _search(settings.search, policy, helper)
    return search if settings.first_thoughts is None else FirstThought(search, PrefixStore(settings.first_thoughts))


def _search(settings: SearchSettings, policy: Policy, helper: Policy | None) -> Search:
    match settings:
        case ChainSettings():
            return Chain(settings.tries, settings.max_steps)
        case DfsdtSettings():
            ranker = policy if settings.ranked else None
            return Dfsdt(settings.children, settings.max_depth, settings.max_queries, settings.answers, ranker)
        case VotingSettings():
            return SamplingAndVoting(settings.answers, settings.max_steps, settings.form)
        case EarlyExitSettings():
            verifier = policy if settings.verified else None
            return EarlyExit(settings.max_steps, settings.intrinsic, verifier, settings.every, helper)
        case _:
            return Sag(settings.candidates, settings.temperature, settings.top_p, settings.max_steps)
