"""Lion as an ``mlx.optimizers.Optimizer``."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx.optimizers import Optimizer
from mlx.utils import tree_flatten, tree_map, tree_map_with_path

from lion_ports.config import Decay, LionConfig, MomentumDtype, Nonfinite, known_settings
from lion_ports.errors import ConfigError, NonFiniteError
from lion_ports.mlx.arithmetic import compute_dtype, lion_update


class Lion(Optimizer):
    r"""Lion (EvoLved Sign Momentum; Program 1 of arXiv 2302.06675).

    .. math::

        u  &= \operatorname{sign}(\beta_1 m + (1 - \beta_1) g) \\
        x' &= x - lr (u + wd\, x) \\
        m' &= \beta_2 m + (1 - \beta_2) g

    On the CPU, eager and inside ``mx.compile``, every step equals ``lion_ports.reference`` bit for
    bit. Assigning ``optimizer.learning_rate`` does not trace a compiled step again.

    Args:
        learning_rate: a number >= 0, a scalar array, or a schedule ``step -> lr`` (L-015).
        betas: ``(beta1, beta2)``, each in [0, 1).
        weight_decay: decoupled weight decay ``wd`` >= 0.
        mask: ``mask(path, parameter) -> bool`` says what decays; None: everything (L-017).
        decay: ``"coupled"`` (``lr * wd``) or ``"independent"`` (``wd * lr / lr_peak``) (L-017).
        lr_peak: what independent decay divides by; None: ``learning_rate``, unless a schedule.
        momentum_dtype: None (the parameter's), ``"float32"`` or ``"bfloat16"`` (L-016).
        maximize: ascend (L-018).
        nonfinite: ``"propagate"``, ``"skip"`` (counted in ``optimizer.skipped``) or ``"raise"``,
            which needs the values and so cannot be used inside ``mx.compile`` (L-019).

    Raises:
        ConfigError: a setting is out of its range or unknown.
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
        learning_rate: Any = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        mask: Callable[[str, mx.array], bool] | None = None,
        decay: Decay = "coupled",
        lr_peak: float | None = None,
        momentum_dtype: MomentumDtype | None = None,
        maximize: bool = False,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__()
        self._config = LionConfig(
            learning_rate,
            betas,
            weight_decay,
            decay=decay,
            lr_peak=lr_peak,
            momentum_dtype=momentum_dtype,
            maximize=maximize,
            nonfinite=nonfinite,
        )
        self._mask = mask
        self._lr_dtype = mx.float32
        if callable(learning_rate):
            self._schedulers["learning_rate"] = learning_rate
            learning_rate = learning_rate(self.step)
        self.learning_rate = learning_rate
        if nonfinite == "skip":
            self.state["skipped"] = mx.array(0, mx.uint64)

    def init(self, parameters: Any) -> None:
        """Make a zero momentum beside every parameter that has none yet (L-002)."""
        dtypes = [compute_dtype(x.dtype, path) for path, x in tree_flatten(parameters)]
        if mx.float64 in dtypes and self._lr_dtype != mx.float64:
            self._lr_dtype = mx.float64
            # The number as it was assigned, unless a state with another one was loaded since.
            held = self.learning_rate
            self.learning_rate = self._assigned if held is self._assigned_array else held
        super().init(parameters)

    def init_single(self, parameter: mx.array, state: dict[str, mx.array]) -> None:
        """L-002, L-016: zeros made from the parameter; a complex momentum stays complex."""
        dtype = parameter.dtype
        if self._config.momentum_dtype is not None and dtype != mx.complex64:
            dtype = getattr(mx, self._config.momentum_dtype)
        state["m"] = mx.zeros(parameter.shape, dtype)

    @property
    def learning_rate(self) -> mx.array:
        """The learning rate as a scalar array, float64 where a parameter is (L-006)."""
        value: mx.array = self.state["learning_rate"]
        return value

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self._assigned = learning_rate
        self._assigned_array = mx.array(learning_rate, self._lr_dtype)
        self.state["learning_rate"] = self._assigned_array

    @property
    def skipped(self) -> int:
        """Steps left out by ``nonfinite="skip"``."""
        return int(self.state.get("skipped", 0))

    def apply_gradients(self, gradients: Any, parameters: Any) -> Any:
        """The updated parameters: a tree like ``gradients``, of which ``parameters`` is a superset.

        A gradient of None, or one that is missing, leaves its parameter alone (L-003).
        """
        xs = tree_map(lambda g, x: x, gradients, parameters)
        self.init(xs)
        ok = self._all_finite(gradients)
        for schedule in self._schedulers.values():
            self.learning_rate = schedule(self.step)
        self.state["step"] = _select(ok, self.step + 1, self.step)
        if "skipped" in self.state:
            skipped = self.state["skipped"]
            self.state["skipped"] = _select(ok, skipped, skipped + 1)

        def update(path: str, g: mx.array | None, x: mx.array, state: Any) -> mx.array:
            return x if g is None else self._update(path, g, x, state, ok)

        return tree_map_with_path(update, gradients, xs, self.state)

    def _update(self, path: str, g: mx.array, x: mx.array, state: Any, ok: Any) -> mx.array:
        decays = self._mask is None or self._mask(path, x)
        scalars = self._config.scalars(self.learning_rate, decays=decays)
        g = -g if self._config.maximize else g  # L-018
        new_x, new_m = lion_update(x, g, state["m"], scalars)
        state["m"] = _select(ok, new_m, state["m"])
        return _select(ok, new_x, x)

    def _all_finite(self, gradients: Any) -> mx.array | None:
        """Whether all gradients are finite; None where it does not matter (L-019)."""
        if self._config.nonfinite == "propagate":
            return None
        present = [(path, g) for path, g in tree_flatten(gradients) if g is not None]
        named = [(path, mx.isfinite(g).all()) for path, g in present]
        if self._config.nonfinite == "raise":
            bad = [path for path, finite in named if not _value(finite)]
            if bad:
                raise NonFiniteError(bad)
        return mx.stack([mx.array(True), *(finite for _, finite in named)]).all()


def _select(ok: mx.array | None, new: mx.array, old: mx.array) -> mx.array:
    return new if ok is None else mx.where(ok, new, old)


def _value(finite: mx.array) -> bool:
    try:
        return bool(finite.item())
    except ValueError:
        raise ConfigError(
            "nonfinite='raise' was given inside mx.compile, where no value can be looked at; "
            "use 'skip', or leave the update out of the compiled function"
        ) from None
