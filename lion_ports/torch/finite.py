"""Gradients that are not finite (L-019)."""

from typing import Any

import numpy as np
import torch
from torch.nn.utils import get_total_norm

from lion_ports.torch.column import Column
from lion_ports.torch.columns import by_kind
from lion_ports.torch.cpu_sums import squared_norms
from lion_ports.torch.cpu_table import KINDS, has_kernel, in_plain_memory
from lion_ports.torch.participants import in_memory, named_parameters
from lion_ports.torch.sharding import local, total


def nonfinite(groups: list[dict[str, Any]]) -> list[str]:
    """Names of the parameters whose gradient is not finite (L-019)."""
    named = [(name, p) for name, p in named_parameters(groups) if p.grad is not None]
    if not named or _all_finite(in_memory(Column(p.grad for _, p in named))):
        return []
    counts = [total((~local(p.grad, p).isfinite()).sum(), p) for _, p in named]
    found = torch.stack([count.to(counts[0].device) for count in counts]).tolist()
    return [name for (name, _), count in zip(named, found, strict=True) if count]


def _all_finite(grads: Column) -> bool:
    """Whether a sum over all gradients shows it; one may overflow, and then it is not known."""
    return grads.plain and all(_sum_is_finite(column) for (column,) in by_kind([grads]))


def _sum_is_finite(grads: Column) -> bool:
    g = grads[0]
    if in_plain_memory(g) and g.is_contiguous() and g.dtype in KINDS and has_kernel():
        wide = torch.float64 if g.dtype == torch.float64 else torch.float32
        return bool(np.isfinite(squared_norms(grads, None, wide)).all())
    full = [g for g in grads if g.numel()]
    return not full or bool(get_total_norm(full, float("inf")).isfinite())
