"""Lion as a ``torch.optim.Optimizer``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from lion_ports.config import (
    CorrectionBits,
    Decay,
    LionConfig,
    LossScale,
    MomentumDtype,
    Nonfinite,
    Nonlinearity,
    known_settings,
)
from lion_ports.errors import ConfigError
from lion_ports.torch import counters
from lion_ports.torch.arithmetic import compute_dtype, refuse_conjugate
from lion_ports.torch.averages import swapped_in
from lion_ports.torch.capture import refuse_capture
from lion_ports.torch.column import Column
from lion_ports.torch.groups import SETTINGS, WIDE, Watch, complete, keep_once, refuse_names
from lion_ports.torch.jobs import Group, settings_of
from lion_ports.torch.loading import restore_dtypes, to_load
from lion_ports.torch.participants import in_memory, named_parameters, refuse_unfit, taking_part
from lion_ports.torch.scaling import inverse_scale, left_out, loss_scale, rescale
from lion_ports.torch.sharding import refuse_sharded
from lion_ports.torch.slots import init_all
from lion_ports.torch.states import States
from lion_ports.torch.step import update_
from lion_ports.torch.work import Work


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
        momentum_dtype: None (the parameter's), ``"float32"`` or ``"bfloat16"`` (L-016); or
            ``"int8"``, with a scale for every 128 elements (L-031).
        correction_bits: 8 or 16 that are kept beside each bfloat16 parameter, of what it lacks of
            a float32, so that no step and no decay is lost (L-032).
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
        ConfigError: a setting is out of its range or unknown; also from ``step``, before anything
            moves, if one was changed in a group. A DTensor with ``"int8"`` or ``correction_bits``.
        DtypeError: a parameter is neither floating nor complex, or is a conjugated view (``W.mH``);
            or a gradient is sparse, of integers, or complex where its parameter is not.
        StateError: from ``step``, what is in a state does not fit its parameter.
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
    # While the averages are in the parameters.
    _swapped = False

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
        correction_bits: CorrectionBits | None = None,
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
        given = {name: value for name, value in locals().items() if name in SETTINGS}
        LionConfig(**given)
        if foreach not in (None, False, True):
            raise ConfigError(f"foreach = {foreach!r} is not one of None, False, True")
        self.config = LionConfig(**{name: given.pop(name) for name in WIDE})
        self._watches: list[Watch] = []  # beside param_groups, whose values are saved
        super().__init__(params, given)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group after checking its settings and the dtypes of its parameters.

        It goes on from the optimizer's count of updates, which its schedules see.
        """
        refuse_names(param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        keep_once(group)
        try:
            complete(group, self.defaults, self.config)
            for name, p in named_parameters([group]):
                compute_dtype(p.dtype, name)
                refuse_conjugate(p, name)
                refuse_sharded(p, group)
            counters.share(self.param_groups, self.config)
            self._watches.append(Watch.of(group))
        except (ValueError, TypeError):
            self.param_groups.pop()
            raise

    @property
    def skipped(self) -> int:
        """Steps left out by ``nonfinite="skip"``, a dynamic loss scale, or a GradScaler."""
        return int(self.param_groups[0]["skipped"])

    @property
    def loss_scale(self) -> float:
        """What the loss is to be multiplied by (L-024)."""
        return loss_scale(self.param_groups, self.config) or 1.0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient (L-003); return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        compiling = torch.compiler.is_compiling()
        work, complete = self._work_outside_of_graphs() if compiling else self._work()
        steps, bound = self.config.gradient_accumulation_steps, self.config.global_clipnorm
        if steps > 1:
            work.accumulate_()
        if complete:
            update_(work, steps=steps, global_clipnorm=bound)
        return loss

    @torch.no_grad()
    def update_parameter(self, p: Tensor, index: int) -> None:
        """What ``step`` does to one parameter that has a gradient; it counts nothing.

        For gradients that are used as soon as they are there (``release_gradients``).

        Args:
            p: the parameter.
            index: which of ``param_groups`` it is in.

        Raises:
            ConfigError: it has no gradient, or a setting of the group is out of its range.
        """
        group, watch = self.param_groups[index], self._watches[index]
        if p.grad is None:
            raise ConfigError(
                f"update_parameter needs a gradient, and the parameter of shape {tuple(p.shape)} "
                "has none; call it when the gradient is there"
            )
        self._check([(group, watch)])
        refuse_unfit(p, p.grad, [group])
        watch.carry_out(group, watch.plan(group), ends=False)
        unscale, work = self._inverse_scale(), Work([], [])
        settings = settings_of(group, self.config, unscale, as_tensors=False)
        params, grads = Column([p]), in_memory(Column([p.grad]))
        states = States(map(self.state.__getitem__, params))
        init_all(params, states, group, self.config)
        work.add(params, grads, states, settings)
        update_(work)

    @_disable_dynamo  # torch.compiler.disable would import the compiler with this module
    def _work_outside_of_graphs(self) -> tuple[Work, bool]:
        """What ``_work`` says, for a graph, which gets the scalars as tensors.

        No other learning rate, and no other weight decay, is then a reason to compile again.
        """
        return self._work(as_tensors=True)

    def _work(self, *, as_tensors: bool = False) -> tuple[Work, bool]:
        """What is to be done in this step, and whether it completes an update (L-025).

        All that Python decides is decided here. What can be refused is refused before anything is
        written.
        """
        groups, steps = self.param_groups, self.config.gradient_accumulation_steps
        watched = list(zip(groups, self._watches, strict=True))
        self._check(watched)
        complete = steps == 1 or int(groups[0]["micro"]) + 1 >= steps
        due = taking_part(groups, self.state if complete else {})
        plans = [watch.plan(group) for group, watch in watched] if complete else []
        unscale = self._inverse_scale()  # before a dynamic scale changes
        work = Work([], [])
        if left_out(groups, self.config, getattr(self, "found_inf", None)):  # as above
            rescale(groups, self.config, skipped=True)
            counters.advance(groups, "skipped")
            return work, False
        states = States.of(self.state, [params for params, _ in due])
        for group, (params, _), slots in zip(groups, due, states, strict=True):
            init_all(params, slots, group, self.config)
        rescale(groups, self.config, skipped=False)
        for (group, watch), plan in zip(watched, plans, strict=False):
            watch.carry_out(group, plan)
        for group, rows, slots in zip(groups, due, states, strict=True):
            settings = settings_of(group, self.config, unscale, as_tensors=as_tensors)
            work.add(*rows, slots, settings, alone=as_tensors)
        if not complete:
            counters.advance(groups, "micro")
            if seen := [kept["seen"] for kept in chain.from_iterable(states)]:
                torch._foreach_add_(seen, 1)
        elif None not in plans:
            counters.advance(groups, "count")
        if complete and steps > 1:
            self._begin_window()
        return work, complete

    def _check(self, watched: list[tuple[Group, Watch]]) -> None:
        """Refuse what was set wrong since the last step, and one that would be lost (L-020)."""
        if self._swapped:
            raise ConfigError(
                "a step inside `with optimizer.averaged():` would be lost at its end; make it "
                "outside"
            )
        for group, watch in watched:
            watch.check(group, self.defaults, self.config)
        refuse_capture(watched, self.config)

    def _begin_window(self) -> None:
        """Count micro-steps anew; the sums are cleared by the update (L-025)."""
        counters.reset(self.param_groups, "micro")
        if seen := [slots["seen"] for slots in self.state.values() if "seen" in slots]:
            torch._foreach_zero_(seen)

    def _inverse_scale(self) -> float | Tensor | None:
        scale: Tensor | None = getattr(self, "grad_scale", None)  # given by a GradScaler
        return inverse_scale(self.param_groups, self.config, scale)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Swap the averages into the parameters, and out again at the end (L-029).

        In between ``step`` is a ConfigError, for what it moved would be lost.

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
        before, self._swapped = self._swapped, True
        try:
            with swapped_in(self.state):
                yield
        finally:
            self._swapped = before

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, keeping the dtypes that were saved, which torch would cast (L-016).

        Settings of its groups win over those of the constructor. The states of other Lions are
        completed.

        Raises:
            StateError: it is no Lion's, of other shapes, or further in an update than this
                optimizer can be (L-025).
            ConfigError: a setting in it is out of its range. In both cases nothing has changed.
        """
        loaded: list[dict[str, Any]] = []

        def last(_: Any, state: dict[str, Any]) -> dict[str, Any]:
            beside = (self.param_groups, self._watches, self.defaults, self.config)
            loaded.append(to_load(state, *beside))
            return loaded[0]

        hook = self.register_load_state_dict_pre_hook(last)  # sees what the others made of it
        try:
            super().load_state_dict(state_dict)
        finally:
            hook.remove()
        restore_dtypes(self.state, self.param_groups, loaded[0])

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_watches": self._watches, "config": self.config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group, watch in zip(self.param_groups, self._watches, strict=True):
            watch.settle(group)
