"""DTensors: each rank updates the shard that it holds, and sums go over all shards.

Every rule of the update works element by element, so it runs on plain local tensors; the state is a
DTensor with the placements of its parameter. Counts, norms and the look at gradients that are not
finite concern a whole tensor (L-019, L-022, L-027, L-028): those go through ``total``.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor

from lion_ports.errors import ConfigError, DtypeError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_dtensor(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Whether a tensor is a DTensor; imports nothing, since that module comes with the first one.

    >>> import torch
    >>> is_dtensor(torch.ones(3))
    False
    """
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """The part of a DTensor that this rank holds, as a plain tensor that shares its memory.

    Any other tensor is returned as it is.

    Args:
        tensor: any dtype and shape; a shard may be empty.
        like: the parameter, where ``tensor`` is its gradient. A gradient that is placed otherwise
            is redistributed first, and what is returned shares no memory with it.

    Raises:
        DtypeError: one of ``tensor`` and ``like`` is a DTensor and the other is not.

    >>> import torch
    >>> x = torch.ones(3)
    >>> local(x) is x
    True
    """
    like = tensor if like is None else like
    if is_dtensor(tensor) and is_dtensor(like):
        if tensor.placements != like.placements:
            tensor = tensor.redistribute(like.device_mesh, like.placements)
        return tensor.to_local()
    refuse_mixture(tensor, like)
    return tensor


def refuse_mixture(grad: Tensor, like: Tensor) -> None:
    """Raise a DtypeError if one of gradient and parameter is a DTensor and the other is not."""
    if is_dtensor(grad) != is_dtensor(like):
        raise DtypeError(
            f"a gradient is a {type(grad).__name__} and its parameter a {type(like).__name__}; "
            "make both DTensors, as by torch.distributed.tensor.distribute_tensor, or neither."
        )


def refuse_sharded(p: Tensor, settings: Mapping[str, Any]) -> None:
    """Raise a ConfigError if a DTensor is to have a small state, whose blocks go across shards.

    Args:
        p: a parameter.
        settings: of its group.
    """
    if not is_dtensor(p):
        return
    asked = {
        "momentum_dtype='int8'": settings["momentum_dtype"] == "int8" and not p.is_complex(),
        "correction_bits": settings["correction_bits"] and p.dtype == torch.bfloat16,
    }
    for option in (name for name, wanted in asked.items() if wanted):
        raise ConfigError(
            f"{option} goes by the place of an element in its whole parameter, and the one of "
            f"shape {tuple(p.shape)} is a DTensor; leave {option} out, or use "
            "DistributedDataParallel"
        )


def total(value: Tensor, like: Tensor) -> Tensor:
    """The sum of a number over the shards of a tensor: the same on every rank.

    Args:
        value: 0-d tensor: a count or a sum of squares over ``local(like)``.
        like: the tensor that it was taken from. Shards along every dimension of its mesh are added;
            replicas hold the same number, which is counted once.

    Returns:
        0-d tensor of the dtype of ``value``; ``value`` itself if ``like`` is no DTensor.

    >>> import torch
    >>> total(torch.tensor(3.0), like=torch.ones(3))
    tensor(3.)
    """
    if not is_dtensor(like):
        return value
    from torch.distributed.tensor import DTensor, Partial, Replicate

    parts = [p if p.is_replicate() else Partial("sum") for p in like.placements]
    whole = DTensor.from_local(value, like.device_mesh, parts, run_check=False)
    return whole.redistribute(placements=[Replicate()] * like.device_mesh.ndim).to_local()


def whole(tensor: Tensor) -> Tensor:
    """All shards of a DTensor together, which every rank must ask for; another tensor as it is."""
    return tensor.full_tensor() if is_dtensor(tensor) else tensor


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which every rank has, as a DTensor placed as ``like``, if that is one."""
    if not is_dtensor(like):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    # distribute_tensor would refuse what fully_shard makes of tensor parallelism.
    everywhere = [Replicate()] * like.device_mesh.ndim
    replica = DTensor.from_local(tensor.to(like.device), like.device_mesh, everywhere)
    return replica.redistribute(placements=like.placements)
