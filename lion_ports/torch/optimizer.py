"""Lion as a ``torch.optim.Optimizer``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from lion_ports.config import (
    Decay,
    LionConfig,
    LossScale,
    MomentumDtype,
    Nonfinite,
    Nonlinearity,
    known_settings,
    misspelt,
    scheduled,
)
from lion_ports.errors import ConfigError, NonFiniteError
from lion_ports.torch import counters
from lion_ports.torch.arithmetic import as_reals, compute_dtype, narrow
from lion_ports.torch.gradients import Named, accumulate_, nonfinite, refuse_sparse
from lion_ports.torch.jobs import Job, init_slots, job_of, settings_of
from lion_ports.torch.sharding import local
from lion_ports.torch.step import update_

# Settings of the optimizer as a whole; all others may differ from group to group.
_WIDE = {
    "nonfinite",
    "loss_scale",
    "loss_scale_growth_interval",
    "gradient_accumulation_steps",
    "global_clipnorm",
}
_SETTINGS = [field.name for field in fields(LionConfig)]
_SCHEDULABLE = ("lr", "weight_decay")


class Lion(torch.optim.Optimizer):
    """Lion (EvoLved Sign Momentum; Program 1 of arXiv 2302.06675).

        u  = sign(beta1*m + (1 - beta1)*g)
        x' = x - lr*(u + wd*x)
        m' = beta2*m + (1 - beta2)*g

    On the CPU, eager and under ``torch.compile(optimizer.step)``, every step equals
    ``lion_ports.reference`` bit for bit; a change of ``lr`` or ``weight_decay`` compiles nothing
    again. DTensors (FSDP2, tensor parallelism) are updated shard by shard.

    Args:
        params: parameters, named parameters or parameter groups. A group may have its own value
            of every setting but ``nonfinite``, ``global_clipnorm``, ``loss_scale`` and
            ``gradient_accumulation_steps``.
        lr: learning rate: a number >= 0, a 0-d tensor, or a schedule ``step -> lr`` (L-015).
        betas: ``(beta1, beta2)``, each in [0, 1).
        weight_decay: decoupled weight decay ``wd`` >= 0, or a schedule ``step -> wd``.
        decay: ``"coupled"`` (``lr * wd``) or ``"independent"`` (``wd * lr / lr_peak``) (L-017).
        lr_peak: what independent decay divides by; None: the group's first ``lr``.
        momentum_dtype: None (the parameter's), ``"float32"`` or ``"bfloat16"`` (L-016).
        maximize: ascend (L-018).
        nonfinite: ``"propagate"``; ``"skip"`` and ``"raise"`` look at every gradient first, which
            waits for the device (L-019). ``optimizer.skipped`` counts the steps left out.
        cautious: leave out what the gradient opposes, and enlarge the rest, by at most
            ``cautious_cap`` (L-022).
        cautious_decay: decay only where the direction pulls towards zero as well (L-023).
        nonlinearity: ``"sign"``, ``"tanh"``, ``"clip"`` or ``"l2"`` of ``steepness * c`` (L-028).
        clipvalue: bound of each element of a gradient (L-026).
        clipnorm: bound of the norm of each gradient (L-027).
        global_clipnorm: bound of the norm of all gradients together (L-027).
        gradient_accumulation_steps: calls of ``step`` to one update by their mean (L-025).
        ema_decay: keep a moving average of the parameters (L-029); ``averaged()`` swaps it in.
        ema_overwrite_every: replace the parameters by it after so many updates (L-029).
        loss_scale: what the loss was multiplied by, a number or ``"dynamic"``, and then by
            ``optimizer.loss_scale`` (L-024). A ``torch.amp.GradScaler`` works as well, without it.
        loss_scale_growth_interval: finite steps after which a dynamic scale is doubled.
        foreach: accepted, as by the optimizers of torch; the bits are the same.

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

    # torch.amp.GradScaler then leaves it to step() to unscale and to skip.
    _step_supports_amp_scaling = True

    @known_settings
    def __init__(
        self,
        params: Any,
        lr: Any = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: Any = 0.0,
        *,
        decay: Decay = "coupled",
        lr_peak: float | None = None,
        momentum_dtype: MomentumDtype | None = None,
        maximize: bool = False,
        nonfinite: Nonfinite = "propagate",
        cautious: bool = False,
        cautious_cap: float = 10.0,
        cautious_decay: bool = False,
        nonlinearity: Nonlinearity = "sign",
        steepness: float = 1.0,
        clipvalue: float | None = None,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
        gradient_accumulation_steps: int = 1,
        ema_decay: float | None = None,
        ema_overwrite_every: int | None = None,
        loss_scale: LossScale | None = None,
        loss_scale_growth_interval: int = 2000,
        foreach: bool | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in _SETTINGS}
        LionConfig(**given)
        if foreach not in (None, False, True):
            raise ConfigError(f"foreach = {foreach!r} is not one of None, False, True")
        self.config = LionConfig(**{name: given.pop(name) for name in _WIDE})
        # Schedules stay out of param_groups, whose values are saved and must be plain data.
        self._schedules: list[dict[str, Callable[[int], Any]]] = []
        # What they gave last: another value in a group was set by hand, and holds for one step.
        self._given: list[dict[str, Any]] = []
        super().__init__(params, given)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group after checking its settings and the dtypes of its parameters."""
        problems = misspelt(param_group) + [
            f"{name} is a setting of the optimizer, not of a parameter group"
            for name in param_group
            if name in _WIDE
        ]
        if problems:
            raise ConfigError(*problems)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        schedules = {name: group[name] for name in _SCHEDULABLE if callable(group[name])}
        try:
            self._complete(group)
            for name, p in _named_parameters([group]):
                compute_dtype(p.dtype, name)
            given = {name: scheduled(name, f, 0) for name, f in schedules.items()}
        except (ValueError, TypeError):
            self.param_groups.pop()
            raise
        group.update(given)
        self._schedules.append(schedules)
        self._given.append(given)

    def _complete(self, group: dict[str, Any]) -> None:
        """Check a group's settings, and fill in what it does not have."""
        wide = {name: getattr(self.config, name) for name in _WIDE}
        names = [name for name in _SETTINGS if name not in _WIDE]
        settings = {name: group.setdefault(name, self.defaults[name]) for name in names}
        config = LionConfig(**settings, **wide)
        group["betas"] = config.betas
        group["lr_peak"] = config.lr_peak
        if not isinstance(group["lr"], Tensor) and hasattr(group["lr"], "item"):
            group["lr"] = group["lr"].item()  # a scalar of another framework
        counters.complete(self.param_groups, config)

    @property
    def skipped(self) -> int:
        """Steps left out by ``nonfinite="skip"``, a dynamic loss scale, or a GradScaler."""
        return int(self.param_groups[0]["skipped"])

    @property
    def loss_scale(self) -> float:
        """What the loss is to be multiplied by (L-024)."""
        return counters.loss_scale(self.param_groups, self.config) or 1.0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient (L-003); return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        jobs, complete = self._jobs(torch.compiler.is_compiling())
        steps, bound = self.config.gradient_accumulation_steps, self.config.global_clipnorm
        if steps > 1:
            accumulate_(jobs)
        if complete:
            update_(jobs, steps=steps, global_clipnorm=bound)
        return loss

    @torch.no_grad()
    def update_parameter(self, p: Tensor, index: int) -> None:
        """What ``step`` does to one parameter that has a gradient; it counts nothing.

        For gradients that are used as soon as they are there (``release_gradients``).

        Args:
            p: the parameter.
            index: which of ``param_groups`` it is in.
        """
        group, slots = self.param_groups[index], self.state[p]
        if p.grad is not None and p.grad.is_sparse:  # names are made for the error alone
            refuse_sparse([(name, q) for name, q in _with_gradients([group]) if q is p])
        self._schedule(index, ends=False)
        init_slots(p, slots, group, self.config)
        settings = settings_of(group, self._unscale(), as_tensors=False)
        update_([job_of(p, slots, settings)])

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _jobs(self, as_tensors: bool) -> tuple[list[Job], bool]:
        """What is to be done in this step, and whether it completes an update (L-025).

        All that Python decides is decided here, outside of a compiled graph, which gets the scalars
        as tensors: no other learning rate, and no other weight decay, is a reason to compile again.
        """
        groups, steps = self.param_groups, self.config.gradient_accumulation_steps
        named = _with_gradients(groups)
        refuse_sparse(named)
        unscale = self._unscale()  # before a dynamic scale changes
        if self._left_out(named):
            counters.advance(groups, "skipped")
            return [], False
        for group in groups:
            for p in group["params"]:
                if p.grad is not None:
                    init_slots(p, self.state[p], group, self.config)
        complete = int(groups[0]["micro"]) + 1 >= steps
        counts = [self._schedule(i) for i in range(len(groups))] if complete else []
        jobs = []
        for group in groups:
            settings = settings_of(group, unscale, as_tensors=as_tensors)
            for p in group["params"]:
                slots = self.state.get(p, {})
                if p.grad is not None and steps > 1:
                    slots["seen"] += 1
                if p.grad is not None or (complete and slots.get("seen", 0) > 0):
                    jobs.append(job_of(p, slots, settings))
        if not complete:
            counters.advance(groups, "micro")
        elif all(counts):
            counters.advance(groups, "count")
        if complete and steps > 1:
            self._begin_window()
        return jobs, complete

    def _begin_window(self) -> None:
        """Count micro-steps anew; the sums are cleared by the update (L-025)."""
        counters.reset(self.param_groups, "micro")
        for slots in self.state.values():
            if "seen" in slots:
                slots["seen"].zero_()

    def _schedule(self, index: int, *, ends: bool = True) -> bool:
        """Evaluate the schedules of a group at its count of updates (L-015).

        A rate that was set by hand holds for one step, which ``ends`` with this. If it is 0, that
        step is no update: so torch.distributed.checkpoint has an optimizer make its state. Returns
        whether it is one.
        """
        group, given = self.param_groups[index], self._given[index]
        for name, schedule in self._schedules[index].items():
            if group[name] == given[name]:
                group[name] = given[name] = scheduled(name, schedule, int(group["count"]))
            elif name == "lr" and group["lr"] == 0:
                return False
            elif ends:
                given[name] = group[name]
        return True

    def _unscale(self) -> float | Tensor | None:
        """What gradients are multiplied by before all else (L-024)."""
        scale = counters.loss_scale(self.param_groups, self.config)
        grad_scale: Tensor | None = getattr(self, "grad_scale", None)  # given by a GradScaler
        if grad_scale is not None:
            return grad_scale.double().reciprocal() / (scale or 1.0)
        return None if scale is None else 1 / scale

    def _left_out(self, named: Named) -> bool:
        """Whether this step is skipped (L-019); a dynamic loss scale is brought forward (L-024)."""
        found_inf: Tensor | None = getattr(self, "found_inf", None)  # given by a GradScaler
        overflow = found_inf is not None and bool(found_inf)
        if self.config.nonfinite == "propagate" and not self.config.dynamic:
            return overflow
        bad = nonfinite(named)
        if bad and self.config.nonfinite == "raise":
            raise NonFiniteError(bad)
        if self.config.dynamic:
            counters.rescale(self.param_groups, self.config, finite=not bad)
        return overflow or bool(bad)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Swap the averages into the parameters, and out again at the end (L-029).

        Raises:
            ConfigError: no group has an ``ema_decay``.

        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = Lion([weight], lr=0.5, ema_decay=0.5)
        >>> weight.grad = torch.tensor([1.0])
        >>> optimizer.step()
        >>> with optimizer.averaged():
        ...     weight.data
        tensor([0.7500])
        >>> weight.data
        tensor([0.5000])
        """
        if all(group["ema_decay"] is None for group in self.param_groups):
            raise ConfigError("there are no averages without ema_decay; give Lion one")
        averages = [
            (local(p), local(state["average"]))
            for p, state in self.state.items()
            if "average" in state
        ]
        kept = [x.detach().clone() for x, _ in averages]
        with torch.no_grad():
            for x, e in averages:
                as_reals(x).copy_(narrow(as_reals(e), as_reals(x).dtype))
        try:
            yield
        finally:
            with torch.no_grad():
                for (x, _), old in zip(averages, kept, strict=True):
                    x.copy_(old)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, keeping the dtypes that were saved, which torch would cast (L-016)."""
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
            for name, value in seen[0]["state"].get(saved_id, {}).items():
                if isinstance(value, Tensor):
                    device = "cpu" if name == "seen" else p.device
                    self.state[p][name] = value.to(device, copy=True)

    def __getstate__(self) -> dict[str, Any]:
        own = {"_schedules": self._schedules, "_given": self._given, "config": self.config}
        return super().__getstate__() | own

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a state of another Lion lacks some settings
            self._complete(group)
        # What was loaded was not set by hand.
        self._given = [
            {name: group[name] for name in schedules}
            for group, schedules in zip(self.param_groups, self._schedules, strict=True)
        ]


def _named_parameters(groups: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for i, group in enumerate(groups):
        unnamed = [f"parameter {j} of group {i}" for j in range(len(group["params"]))]
        yield from zip(group.get("param_names", unnamed), group["params"], strict=True)


def _with_gradients(groups: list[dict[str, Any]]) -> Named:
    return [(name, p) for name, p in _named_parameters(groups) if p.grad is not None]
