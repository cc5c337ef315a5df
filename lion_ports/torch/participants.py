"""The parameters that take part in a step with their gradients, and what cannot (L-003)."""

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from lion_ports.errors import ConfigError, DtypeError
from lion_ports.torch.column import Column, has_memory, overlaps
from lion_ports.torch.jobs import Group
from lion_ports.torch.sharding import refuse_mixture
from lion_ports.torch.states import Slots

_GRADIENT = attrgetter("grad")


def named_parameters(groups: list[Group]) -> Iterator[tuple[str, Any]]:
    """The parameters of all groups, by the names that they were given with or by their places."""
    for i, group in enumerate(groups):
        unnamed = (f"parameter {j} of group {i}" for j in range(len(group["params"])))
        yield from zip(group.get("param_names", unnamed), group["params"], strict=True)


def taking_part(groups: list[Group], sums: Mapping[Tensor, Slots]) -> list[tuple[Column, Column]]:
    """Of each group, the parameters that take part in a step, and their gradients (L-003).

    Args:
        groups: all of an optimizer.
        sums: states whose sums of gradients, if there are any, are used in this step. Then a
            parameter takes part without a gradient, and has None (L-025).

    Raises:
        DtypeError: a gradient is sparse, of integers, complex where its parameter is not, or a
            DTensor where that is none.
        ConfigError: a gradient has another shape than its parameter, one of them no memory, or a
            parameter elements that share theirs.
    """
    found = []
    for group in groups:
        params, grads = Column(group["params"]), Column(map(_GRADIENT, group["params"]))
        if not _fit(params, grads):
            rows = list(zip(params, grads, strict=True))
            for p, g in rows:
                if g is not None:
                    refuse_unfit(p, g, groups)
            rows = [(p, g) for p, g in rows if g is not None or sums.get(p, {}).get("seen", 0) > 0]
            params, grads = Column(p for p, _ in rows), in_memory(Column(g for _, g in rows))
        found.append((params, grads))
    return found


def in_memory(grads: Column) -> Column:
    """The gradients, with memory where autograd gave zeros that have none, as those of a sign.

    >>> x = torch.ones(2, requires_grad=True)
    >>> torch.sgn(x).sum().backward()
    >>> x.grad.data_ptr() == 0, in_memory(Column([x.grad]))[0].data_ptr() == 0
    (True, False)
    """
    if grads.in_memory:
        return grads
    return Column(g if has_memory(g) else g.clone() for g in grads)


def _fit(params: Column, grads: Column) -> bool:
    """Whether :func:`refuse_unfit` would refuse none of them, so far as it is seen of all at once.

    That is not seen where a gradient is missing or has no memory, nor among complex numbers.
    """
    dense = params.plain and grads.plain and grads.strided and params.in_memory and grads.in_memory
    if not (dense and params.same_shapes(grads)):
        return False
    floating = all(dtype.is_floating_point for dtype in params.dtypes | grads.dtypes)
    return floating and not params.overlapping


def refuse_unfit(p: Tensor, g: Tensor, groups: list[Group]) -> None:
    """Raise if a gradient is one that Lion cannot use.

    Raises:
        DtypeError: it is sparse, of integers, complex where its parameter is not, or a DTensor
            where that is none.
        ConfigError: it has another shape than its parameter, one of them has no memory, or elements
            of the parameter share theirs.
    """
    if g.layout != torch.strided:
        raise DtypeError(
            f"the gradient of {_name(p, groups)} is sparse, and Lion moves every element by its "
            "momentum; use dense gradients, as by nn.Embedding(..., sparse=False)."
        )
    refuse_mixture(g, p)
    if not (g.is_floating_point() or (g.is_complex() and p.is_complex())):
        raise DtypeError(
            f"the gradient of {_name(p, groups)} is of {g.dtype}, and the parameter of {p.dtype}; "
            "give it one of the parameter's dtype"
        )
    if not (has_memory(p) and (has_memory(g) or g._is_zerotensor())):
        raise ConfigError(
            f"{_name(p, groups)} or its gradient has no memory, which was given back; have both "
            "there for a step, or set the gradient to None"
        )
    if overlaps(p):
        raise ConfigError(
            f"elements of {_name(p, groups)} share their memory, as expand() makes them, and "
            "cannot be moved one by one; make it contiguous"
        )
    if g.shape != p.shape:
        raise ConfigError(
            f"the gradient of {_name(p, groups)} has shape {tuple(g.shape)}, and the parameter "
            f"{tuple(p.shape)}; set the gradient to None where the parameter is replaced"
        )


def _name(p: Tensor, groups: list[Group]) -> str:
    return next(name for name, q in named_parameters(groups) if q is p)
