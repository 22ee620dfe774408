"""In vLLM's workers: what their class is mixed with (`worker_extension_cls`), to be called by `collective_rpc`."""

from collections.abc import Iterable

from teacher_server.vllm.patches import lora_ops
from teacher_server.vllm.patches.prompt_scorer import ScoringWorker


class TeacherWorker(ScoringWorker):
    """Scores the wanted rows alone, keeps adapters from the base, and tells which weights of one are of no use."""

    def install_lora_ops(self) -> None:
        """On a CPU: let tokens without an adapter get nothing of one."""
        lora_ops.install()

    def unused_lora_modules(self, number: int) -> list[str]:
        """Modules that the loaded adapter `number` has weights for and this worker's part of the model doesn't have.

        vLLM leaves such weights out without a word.
        """
        manager = self.model_runner.lora_manager._adapter_manager
        return unused(manager.get_adapter(number).loras, manager.modules)


def unused(weights: Iterable[str], modules: Iterable[str]) -> list[str]:
    """Names in `weights` that aren't in `modules`; experts aside, which vLLM joins under names of its own."""
    return sorted(name for name in set(weights) - set(modules) if ".experts" not in name)
