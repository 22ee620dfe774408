"""How many adapters the engine is started for, and of what rank and modules: vLLM reserves their memory once."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from teacher_server.adapters import peft_files
from teacher_server.adapters.store import check_root
from teacher_server.settings import AdapterLoadingSettings


@dataclass(frozen=True)
class AdapterCapacity:
    """What the engine is started for: `aliases` names, LoRA up to `rank` on `modules`, `slots` adapters at once."""

    aliases: int
    slots: int
    rank: int
    modules: frozenset[str]

    def check(self, alias: str, path: Path) -> None:
        """Raises UserError unless the adapter in `path` fits: vLLM would leave out the modules it doesn't expect."""
        peft_files.check_files(alias, path)
        rank = peft_files.rank_of(alias, path)
        if rank > self.rank:
            raise UserError(
                f"adapter {alias}: got rank {rank}, this teacher was started for ranks up to {self.rank}; "
                "train a smaller one, or start with a higher adapter_loading.max_rank"
            )
        unexpected = peft_files.modules_of(alias, path) - self.modules
        if unexpected:
            raise UserError(
                f"adapter {alias} changes {', '.join(sorted(unexpected))}, this teacher was started for "
                f"{', '.join(sorted(self.modules))}; name all of them in adapter_loading.modules"
            )


def plan_capacity(adapters: dict[str, Path], loading: AdapterLoadingSettings | None) -> AdapterCapacity | None:
    """Room for the `adapters` of the start and, with `loading`, for later ones and the old beside the new.

    None when there will never be any. Raises UserError when one of `adapters` can't be served, or the root isn't there.
    """
    for alias, path in adapters.items():
        peft_files.check_files(alias, path)
    ranks = [peft_files.rank_of(alias, path) for alias, path in adapters.items()]
    modules = frozenset[str]().union(*(peft_files.modules_of(alias, path) for alias, path in adapters.items()))
    if loading is not None:
        check_root(loading.root)
        return AdapterCapacity(
            loading.max_adapters,
            loading.max_adapters + 1,
            max([*ranks, loading.max_rank]),
            modules | set(loading.modules),
        )
    return AdapterCapacity(len(adapters), len(adapters), max(ranks), modules) if adapters else None
