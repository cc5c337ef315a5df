"""Lion as an ``mlx.optimizers.Optimizer``."""

from collections.abc import Iterable, Mapping
from typing import Any

import mlx.core as mx
from mlx.optimizers import Optimizer
from mlx.utils import tree_flatten, tree_map

from lion_ports.config import (
    CorrectionBits,
    Decay,
    LossScale,
    MomentumDtype,
    Nonfinite,
    Nonlinearity,
    Schedulable,
    known_settings,
)
from lion_ports.errors import ConfigError
from lion_ports.mlx.arithmetic import select
from lion_ports.mlx.averages import Averages
from lion_ports.mlx.gradients import effective_gradients
from lion_ports.mlx.group import Predicate
from lion_ports.mlx.groups import make_groups
from lion_ports.mlx.joined import Update, alike, apart, joined
from lion_ports.mlx.rates import Rates
from lion_ports.mlx.scalars import StepScalars
from lion_ports.mlx.settings import SETTINGS
from lion_ports.mlx.stateful import Stateful
from lion_ports.mlx.step import updated
from lion_ports.mlx.structure import refuse_other_gradients
from lion_ports.mlx.trees import known, replaced
from lion_ports.mlx.update import after, fuses, is_large


class Lion(Averages, Stateful, Optimizer):
    """Lion (EvoLved Sign Momentum; Program 1 of arXiv 2302.06675).

        u  = sign(beta1*m + (1 - beta1)*g)
        x' = x - lr*(u + wd*x)
        m' = beta2*m + (1 - beta2)*g

    On the CPU, eager and inside ``mx.compile``, every step equals ``lion_ports.reference`` bit for
    bit. Whatever changes from step to step is in ``optimizer.state``, so that one trace serves a
    compiled step for ever, also when ``optimizer.learning_rate`` is assigned. Every setting can be
    read by its name; of the others ``weight_decay`` and ``lr_peak`` can be assigned. docs/mlx.md
    has recipes.

    Args:
        learning_rate: a number >= 0, a scalar array, or a schedule ``step -> lr`` (L-015).
        betas: ``(beta1, beta2)``, each in [0, 1).
        weight_decay: decoupled weight decay ``wd`` >= 0, or a schedule.
        mask: ``mask(path, parameter) -> bool`` says what decays; None: everything (L-017).
        groups: ``[{"params": lambda path, parameter: ..., "weight_decay": 0.0}, ...]``. The first
            predicate that says yes has the parameter. A group may have its own ``learning_rate``,
            ``betas``, ``weight_decay``, ``decay``, ``lr_peak``, ``momentum_dtype``,
            ``correction_bits``, ``maximize``, and settings of L-022, L-023 and L-028.
            ``optimizer.groups[0].learning_rate`` is that of the first one.
        decay: ``"coupled"`` (``lr * wd``) or ``"independent"`` (``wd * lr / lr_peak``) (L-017).
        lr_peak: what independent decay divides by; None: ``learning_rate``, unless a schedule.
        momentum_dtype: None (the parameter's), ``"float32"`` or ``"bfloat16"``, or such a dtype of
            MLX (L-016); or ``"int8"``, with a scale for every 128 elements (L-031).
        correction_bits: 8 or 16 that are kept beside each bfloat16 parameter, of what it lacks of
            a float32, so that no step and no decay is lost (L-032).
        maximize: ascend (L-018).
        nonfinite: ``"propagate"``, ``"skip"`` (counted in ``optimizer.skipped``) or ``"raise"``,
            which needs the values and so cannot be used inside ``mx.compile`` (L-019).
        cautious: leave out what the gradient opposes, and enlarge the rest, by at most
            ``cautious_cap`` (L-022).
        cautious_decay: decay only where the direction pulls towards zero as well (L-023).
        nonlinearity: ``"sign"``, ``"tanh"``, ``"clip"`` or ``"l2"`` of ``steepness * c`` (L-028).
        clipvalue: bound of each element of a gradient (L-026).
        clipnorm: bound of the norm of each gradient (L-027).
        global_clipnorm: bound of the norm of all gradients together (L-027).
        gradient_accumulation_steps: calls to one update by their mean (L-025).
        ema_decay: keep a moving average of the parameters (L-029); ``averaged`` swaps it in.
        ema_overwrite_every: replace the parameters by it after so many updates (L-029).
        loss_scale: what the loss was multiplied by, a number or ``"dynamic"``, and then by
            ``optimizer.loss_scale`` (L-024).
        loss_scale_growth_interval: finite steps after which a dynamic scale is doubled.

    Raises:
        ConfigError: a setting is out of its range or unknown; from an update, a gradient does not
            fit its parameter; from an assignment, the setting is fixed.
        DtypeError: a parameter is neither floating nor complex.
        NonFiniteError: from an update, under ``nonfinite="raise"``.

    >>> optimizer = Lion(0.25, betas=(0.5, 0.75), weight_decay=0.5)
    >>> x = {"weight": mx.array([1.0, 1, 1])}
    >>> optimizer.apply_gradients({"weight": mx.array([2.0, -2, 0])}, x)
    {'weight': array([0.625, 1.125, 0.875], dtype=float32)}
    >>> optimizer.state["weight"]
    {'m': array([0.5, -0.5, 0], dtype=float32)}
    """

    @known_settings
    def __init__(
        self,
        learning_rate: Schedulable = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: Schedulable = 0.0,
        *,
        mask: Predicate | None = None,
        groups: Iterable[Mapping[str, Any]] = (),
        decay: Decay = "coupled",
        lr_peak: float | None = None,
        momentum_dtype: MomentumDtype | mx.Dtype | None = None,
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
    ) -> None:
        chosen = {name: value for name, value in locals().items() if name in SETTINGS}
        super().__init__()
        if mask is not None and not callable(mask):
            raise ConfigError(f"mask = {mask!r} is not a function (path, parameter) -> bool")
        self._mask = mask
        self._rates = Rates(self)
        self._groups = make_groups({"lr": learning_rate, **chosen}, groups, self._rates)
        self.config = self._groups[-1].config
        self._complete()

    def apply_gradients(self, gradients: Any, parameters: Any) -> Any:
        """The updated parameters: a tree like ``gradients``, of which ``parameters`` is a superset.

        A gradient of None, or one that is missing, leaves its parameter alone (L-003). Under
        ``gradient_accumulation_steps`` the tree has every parameter that is in the state.
        """
        self._refuse_lost_update()
        tree = tree_map(lambda g, x: x, gradients, parameters)
        given = tree_flatten(gradients)
        gs = {path: g for path, g in given if g is not None}
        refuse_other_gradients(gs, dict(tree_flatten(tree)))
        present = tree
        if len(gs) < len(given):
            present = tree_map(lambda g, x: None if g is None else x, gradients, parameters)
        leaves = self._leaves(present)
        if self.config.gradient_accumulation_steps > 1:
            tree = known(parameters, self.state)  # an earlier micro-step may have had others
            leaves = self._leaves(tree)
        xs = {path: x for path, x, _ in leaves}
        slots = {path: slots for path, _, slots in leaves}
        due = effective_gradients(xs, gs, slots, self._counters, self.config)

        count = self.step + 1
        scalars = StepScalars(self.groups, self._mask, self.step)
        one_kernel = fuses(sum(x.size for x in xs.values()))
        updates = []
        for path, g in due.gradients.items():
            x, group = xs[path], self.group_of(path, xs[path])
            now, moves = scalars.of(path, x, group), due.moves(path)
            updates.append(Update(path, x, g, slots[path], group, now, moves))
        new, last = dict[str, mx.array](), None
        for those in alike(updates):
            one = joined(those)
            if ordered := one_kernel and is_large(one.x):
                one = one._replace(x=after(one.x, last))
            x = updated(one, count, one_kernel=one_kernel)
            last = one.slots["m"] if ordered else last
            new |= apart(those, x, one.slots)
        self.state["step"] = select(due.made, count, self.step)
        return replaced(tree, new)
