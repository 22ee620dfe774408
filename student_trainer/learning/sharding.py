"""FSDP2: a student that doesn't fit one GPU, sharded over the workers, and its tensors made whole again.

Weights, frozen ones too, gradients and the optimizer's states are split along their first dimension, a shard for each
worker. A decoder layer is gathered while it computes, forward and backward. The rest, embeddings, final norm and head,
is gathered from the start of the forward pass to the end of the backward pass, so that the loss finds a whole head, and
a gradient of the head is reduced like any other. Every forward pass is a collective: all workers run equally many
(`measure.batches_of`).

Only rank 0 loads the base, into host memory; the others build it without values. Layer by layer, rank 0's values are
sent to all devices and sharded there. So host memory holds one base, and a GPU no more than its shards beside one
layer, or beside the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from transformers.modeling_layers import GradientCheckpointingLayer

from common.errors import UserError
from student_trainer.distributed.process_group import ProcessGroup

_swap: Callable[[Tensor, Tensor], None] = torch.utils.swap_tensors


def loading_device(world: ProcessGroup) -> torch.device:
    """Where this worker loads a student for `shard`: in host memory on rank 0, nowhere on the others."""
    return torch.device("cpu" if world.leads else "meta")


def shard(student: nn.Module, dtype: torch.dtype, world: ProcessGroup) -> None:
    """Shard `student`, loaded on `loading_device`, over all workers' devices; its values are those of rank 0.

    Layers are gathered in `dtype`, that of their products, whatever the shards are kept in. The rest is gathered as it
    is: the gradient of a head that learns is summed in its type. Gradients are reduced in float32.
    """
    mesh = init_device_mesh(world.device.type, (world.size,))
    as_it_is = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    for layer in [module for module in student.modules() if isinstance(module, GradientCheckpointingLayer)]:
        _spread(layer, world)
        fully_shard(layer, mesh=mesh, mp_policy=replace(as_it_is, param_dtype=dtype))
    _spread(student, world)
    fully_shard(student, mesh=mesh, mp_policy=as_it_is)
    register_fsdp_forward_method(student, "write")


def _spread(module: nn.Module, world: ProcessGroup) -> None:
    """Bring what isn't sharded yet to the device, with rank 0's values. Parameters stay the same: some are tied."""
    whole = [parameter for parameter in module.parameters() if not isinstance(parameter, DTensor)]
    for parameter in whole:
        if parameter.is_meta:
            empty = torch.empty_like(parameter, device=world.device)
            _swap(parameter, nn.Parameter(empty, requires_grad=parameter.requires_grad))
        else:
            parameter.data = parameter.data.to(world.device)
    world.share(whole)


def gathered(state: Any, world: ProcessGroup) -> Any:
    """`state`, of dicts, lists and tensors, with whole tensors in host memory on rank 0, and None for them elsewhere.

    Every worker must call it. A tensor at a time is whole on each device; rank 0's host holds all of them.
    """
    if isinstance(state, dict):
        return {key: gathered(value, world) for key, value in state.items()}
    if isinstance(state, list):
        return [gathered(value, world) for value in state]
    if not isinstance(state, Tensor):
        return state
    whole = state.full_tensor() if isinstance(state, DTensor) else state
    return whole.detach().to("cpu", copy=True) if world.leads else None  # gathered, it may be a view with padding


def shard_like(whole: Tensor, parameter: Tensor) -> Tensor:
    """A copy of this worker's shard of `whole`, if `parameter`, of the same shape, is sharded; else of all of it.

    Nothing is sent: each worker has `whole`, perhaps mapped from a file.
    """
    if not isinstance(parameter, DTensor) or whole.shape != parameter.shape:
        return whole.clone()
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None).clone()


@torch.no_grad()
def fill(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Give `parameters`, sharded or not, the whole `values` of the same names.

    Raises UserError where names or shapes differ.
    """
    got, expected = ({name: tuple(each.shape) for name, each in some.items()} for some in (values, parameters))
    if odd := dict(sorted(got.items() ^ expected.items())[:3]):
        names = ", ".join(f"{name}: got {got.get(name)}, expected {expected.get(name)}" for name in odd)
        raise UserError(f"saved weights don't fit this student ({names}); choose a new run_folder")
    for name, parameter in parameters.items():
        parameter.copy_(shard_like(values[name], parameter))


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> float:
    """Scale gradients down to a joint norm of `max_norm`; returns the norm before, that of the whole gradient."""
    norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    clip_grads_with_norm_(parameters, max_norm, norm)
    return float(norm)
