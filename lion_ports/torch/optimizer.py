"""Lion as a ``torch.optim.Optimizer``."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from lion_ports.config import (
    Decay,
    LionConfig,
    MomentumDtype,
    Nonfinite,
    Scalars,
    checked_rate,
    coupled_decay,
    known_settings,
    misspelt,
)
from lion_ports.errors import ConfigError, DtypeError, NonFiniteError
from lion_ports.torch.arithmetic import compute_dtype, lion_update_

# Elements updated at a time in eager mode on the CPU: the temporaries of a slice stay in the cache.
_SLICE = 1 << 18
# Below this many elements the allocator is fast, and slices are not worth their bookkeeping.
_SMALL = 1 << 14

# Memory for temporaries by compute dtype, allocated once a step.
Scratch = dict[torch.dtype, Tensor]


class Lion(torch.optim.Optimizer):
    r"""Lion (EvoLved Sign Momentum; Program 1 of arXiv 2302.06675).

    .. math::

        u  &= \operatorname{sign}(\beta_1 m + (1 - \beta_1) g) \\
        x' &= x - lr (u + wd\, x) \\
        m' &= \beta_2 m + (1 - \beta_2) g

    On the CPU, eager and under ``torch.compile(optimizer.step)``, every step equals
    ``lion_ports.reference`` bit for bit. Give ``lr`` as a 0-d tensor and ``.fill_()`` it to change
    it without a recompilation.

    Args:
        params: parameters, named parameters or parameter groups. A group may have its own ``lr``,
            ``betas``, ``weight_decay``, ``decay``, ``lr_peak``, ``momentum_dtype``, ``maximize``.
        lr: learning rate: a number >= 0, a 0-d tensor, or a schedule ``step -> lr`` (L-015).
        betas: ``(beta1, beta2)``, each in [0, 1).
        weight_decay: decoupled weight decay ``wd`` >= 0.
        decay: ``"coupled"`` (``lr * wd``) or ``"independent"`` (``wd * lr / lr_peak``) (L-017).
        lr_peak: what independent decay divides by; None: the group's first ``lr``.
        momentum_dtype: None (the parameter's), ``"float32"`` or ``"bfloat16"`` (L-016).
        maximize: ascend (L-018).
        nonfinite: ``"propagate"``; ``"skip"`` and ``"raise"`` look at every gradient first, which
            waits for the device (L-019). ``optimizer.skipped`` counts the steps left out.

    Raises:
        ConfigError: a setting is out of its range or unknown.
        DtypeError: a parameter is neither floating nor complex, or a gradient is sparse.
        NonFiniteError: from ``step``, under ``nonfinite="raise"``.

    >>> weight = torch.nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    >>> optimizer = Lion([weight], lr=0.25, betas=(0.5, 0.75), weight_decay=0.5)
    >>> weight.grad = torch.tensor([2.0, -2.0, 0.0])
    >>> optimizer.step()
    >>> weight.data, optimizer.state[weight]["exp_avg"]
    (tensor([0.6250, 1.1250, 0.8750]), tensor([ 0.5000, -0.5000,  0.0000]))
    """

    @known_settings
    def __init__(
        self,
        params: Any,
        lr: Any = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        decay: Decay = "coupled",
        lr_peak: float | None = None,
        momentum_dtype: MomentumDtype | None = None,
        maximize: bool = False,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "decay": decay,
            "lr_peak": lr_peak,
            "momentum_dtype": momentum_dtype,
            "maximize": maximize,
            "nonfinite": nonfinite,
        }
        LionConfig(**defaults)
        # Schedules stay out of param_groups, whose values are saved and must be plain data.
        self._schedules: list[Callable[[int], Any] | None] = []
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group after checking its settings and the dtypes of its parameters."""
        problems = misspelt(param_group)
        if "nonfinite" in param_group:
            problems.append("nonfinite is a setting of the optimizer, not of a parameter group")
        if problems:
            raise ConfigError(*problems)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        lr = group["lr"]
        try:
            self._complete(group)
            for name, p in _named_parameters([group]):
                compute_dtype(p.dtype, name)
            if callable(lr):
                group["lr"] = checked_rate(lr(0))
        except (ValueError, TypeError):
            self.param_groups.pop()
            raise
        self._schedules.append(lr if callable(lr) else None)

    def _complete(self, group: dict[str, Any]) -> None:
        """Check a group's settings, and fill in what it does not have."""
        group.pop("nonfinite", None)
        names = [field.name for field in fields(LionConfig) if field.name != "nonfinite"]
        settings = {name: group.setdefault(name, self.defaults[name]) for name in names}
        config = LionConfig(**settings)
        group["betas"] = config.betas
        group["lr_peak"] = config.lr_peak
        if not isinstance(group["lr"], Tensor) and hasattr(group["lr"], "item"):
            group["lr"] = group["lr"].item()  # a scalar of another framework
        group.setdefault("count", torch.tensor(0))
        group.setdefault("skipped", torch.tensor(0))

    @property
    def skipped(self) -> int:
        """Steps left out by ``nonfinite="skip"``."""
        return int(self.param_groups[0]["skipped"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient (L-003); return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        self._refuse_sparse()
        if self.defaults["nonfinite"] != "propagate" and (bad := self._nonfinite()):
            if self.defaults["nonfinite"] == "raise":
                raise NonFiniteError(bad)
            for group in self.param_groups:
                group["skipped"] += 1
            return loss

        scratch: Scratch = {}
        for group, schedule in zip(self.param_groups, self._schedules, strict=True):
            if schedule is not None:
                group["lr"] = checked_rate(schedule(int(group["count"])))
            self._init_group(group)
            b1, b2 = group["betas"]
            wd = coupled_decay(group["weight_decay"], group["lr_peak"])
            scalars = Scalars(group["lr"], b1, b2, wd)
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group, scalars, scratch)
            group["count"] += 1
        return loss

    def _init_group(self, group: dict[str, Any]) -> None:
        """Make the momentum of parameters that have their first gradient (L-002, L-016).

        torch.compile runs a method of this name instead of tracing it. That keeps the zeros out of
        the graph, where ``0 + y`` would become ``y``, which is another bit where ``y`` is -0.
        """
        for p in group["params"]:
            if p.grad is not None and "exp_avg" not in self.state[p]:
                self.state[p]["exp_avg"] = _zeros(p, group["momentum_dtype"])

    def _update(self, p: Any, group: dict[str, Any], scalars: Scalars, scratch: Scratch) -> None:
        m = self.state[p]["exp_avg"]
        for x, g, m_, rows in _slices(p, p.grad, m, scratch):
            lion_update_(x, -g if group["maximize"] else g, m_, scalars, rows)  # L-018

    def _refuse_sparse(self) -> None:
        for name, p in _named_parameters(self.param_groups):
            if p.grad is not None and p.grad.is_sparse:
                raise DtypeError(
                    f"the gradient of {name} is sparse, and Lion moves every element by its "
                    "momentum; use dense gradients, as by nn.Embedding(..., sparse=False)."
                )

    def _nonfinite(self) -> list[str]:
        """Names of the parameters whose gradient is not finite (L-019)."""
        named = [(n, p) for n, p in _named_parameters(self.param_groups) if p.grad is not None]
        if not named:
            return []
        finite = torch.stack([p.grad.isfinite().all() for _, p in named]).tolist()
        return [name for (name, _), ok in zip(named, finite, strict=True) if not ok]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, keeping the saved momentum's dtype, which torch would cast (L-016)."""
        seen: list[dict[str, Any]] = []
        # The last hook sees what the others have made of the state.
        last = self.register_load_state_dict_pre_hook(lambda _, state: seen.append(state))
        try:
            super().load_state_dict(state_dict)
        finally:
            last.remove()
        saved_ids = chain.from_iterable(g["params"] for g in seen[0]["param_groups"])
        params = chain.from_iterable(g["params"] for g in self.param_groups)
        for saved_id, p in zip(saved_ids, params, strict=True):
            if saved_id in seen[0]["state"]:
                saved = seen[0]["state"][saved_id]["exp_avg"]
                self.state[p]["exp_avg"] = saved.to(p.device, copy=True)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_schedules": self._schedules}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a state of another Lion lacks some settings
            self._complete(group)


def _named_parameters(groups: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for i, group in enumerate(groups):
        unnamed = [f"parameter {j} of group {i}" for j in range(len(group["params"]))]
        yield from zip(group.get("param_names", unnamed), group["params"], strict=True)


def _zeros(p: Tensor, momentum_dtype: str | None) -> Tensor:
    """L-002, L-016: zeros made from the parameter; a complex momentum stays complex."""
    if momentum_dtype is None or p.is_complex():
        return torch.zeros_like(p)
    return torch.zeros_like(p, dtype=getattr(torch, momentum_dtype))


def _slices(
    p: Tensor, g: Tensor, m: Tensor, scratch: Scratch
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """Parameter, gradient, momentum and rows of scratch, in slices that fit the cache of a CPU."""
    large = p.is_cpu and p.numel() > _SMALL and not torch.compiler.is_compiling()
    flat = all(t.is_contiguous() and not t.is_complex() for t in (p, g, m))
    if not (large and flat):  # a compiler fuses; a GPU has no use for slices
        yield p, g, m, None
        return
    dtype = compute_dtype(p.dtype)
    if dtype not in scratch:
        scratch[dtype] = torch.empty(5, _SLICE, dtype=dtype)
    xs, gs, ms = (t.view(-1).split(_SLICE) for t in (p, g, m))
    for x, g_, m_ in zip(xs, gs, ms, strict=True):
        yield x, g_, m_, scratch[dtype][:, : x.numel()]
