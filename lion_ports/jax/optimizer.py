"""Lion as an optax transform and as one in-place step."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from lion_ports.config import Decay, LionConfig, Nonfinite, known_settings
from lion_ports.errors import ConfigError, NonFiniteError
from lion_ports.jax.arithmetic import compute_dtype, lion_move, lion_update, opaque_zero


class LionState(NamedTuple):
    """Updates done (int32 scalar), the momentum (a tree like the parameters), updates skipped."""

    count: Array  # type: ignore[assignment]  # a field named like a method of tuple, as in optax
    mu: Any
    skipped: Array


class FusedLion(NamedTuple):
    """Two pure functions: ``init(params)`` and ``step(params, grads, state, lr=None)``."""

    init: Callable[[Any], LionState]
    step: Callable[..., tuple[Any, LionState]]


@known_settings
def lion(
    learning_rate: Any = 1e-4,
    b1: float = 0.9,
    b2: float = 0.99,
    mu_dtype: Any = None,
    weight_decay: float = 0.0,
    mask: Any = None,
    *,
    decay: Decay = "coupled",
    lr_peak: float | None = None,
    maximize: bool = False,
    nonfinite: Nonfinite = "propagate",
) -> optax.GradientTransformationExtraArgs:
    r"""Lion (EvoLved Sign Momentum; Program 1 of arXiv 2302.06675) as an optax transform.

    .. math::

        u  &= \operatorname{sign}(\beta_1 m + (1 - \beta_1) g) \\
        x' &= x - lr (u + wd\, x) \\
        m' &= \beta_2 m + (1 - \beta_2) g

    Its updates are float32 for bfloat16 and float16 parameters, so that ``optax.apply_updates``
    rounds once (L-008); wrappers that need updates of the parameters' dtype, such as
    ``optax.apply_if_finite``, do not take them. ``optax.inject_hyperparams`` makes float32 arrays
    of all numbers, and ``1-b`` would be formed from them: give it
    ``static_args=("b1", "b2", "weight_decay")`` to keep L-006. To update in place under donation
    use :func:`fused_lion`.

    Args:
        learning_rate: a number >= 0, a scalar array, or a schedule ``count -> lr`` (L-015).
        b1: in [0, 1): weight of the momentum in the direction ``u``.
        b2: in [0, 1): decay of the momentum.
        mu_dtype: None (the parameter's dtype), float32 or bfloat16 (L-016).
        weight_decay: decoupled weight decay ``wd`` >= 0.
        mask: a tree of bools, a prefix of the parameters, or a function from the parameters to
            one: what decays (L-017).
        decay: ``"coupled"`` (``lr * wd``) or ``"independent"`` (``wd * lr / lr_peak``) (L-017).
        lr_peak: what independent decay divides by; None: ``learning_rate``, if it is a number.
        maximize: ascend (L-018).
        nonfinite: ``"propagate"``, ``"skip"`` (counted in ``state.skipped``) or ``"raise"``; inside
            ``jax.jit`` the error comes out of a callback, as a JaxRuntimeError, and what was
            donated to the failed step is gone (L-019).

    Raises:
        ConfigError: a setting is out of its range or unknown.
        DtypeError: a parameter is neither floating nor complex.

    >>> import optax
    >>> x, optimizer = jnp.array([1.0, 1, 1]), lion(0.25, b1=0.5, b2=0.75, weight_decay=0.5)
    >>> updates, state = optimizer.update(jnp.array([2.0, -2, 0]), optimizer.init(x), x)
    >>> optax.apply_updates(x, updates), state.mu
    (Array([0.625, 1.125, 0.875], dtype=float32), Array([ 0.5, -0.5,  0. ], dtype=float32))
    """
    config = _config(
        learning_rate, b1, b2, mu_dtype, weight_decay,
        decay=decay, lr_peak=lr_peak, maximize=maximize, nonfinite=nonfinite,
    )  # fmt: skip

    def update(
        updates: Any, state: LionState, params: Any = None, **extra: Any
    ) -> tuple[Any, LionState]:
        del extra
        if params is None:
            raise ConfigError("lion needs the parameters: call update(updates, state, params)")
        return _step(lion_move, jnp.zeros_like, config, mask, params, updates, state)

    return optax.GradientTransformationExtraArgs(lambda params: _init(params, config), update)


@known_settings
def scale_by_lion(
    b1: float = 0.9, b2: float = 0.99, mu_dtype: Any = None
) -> optax.GradientTransformationExtraArgs:
    """Lion's direction ``u`` alone, to be chained with decay and a learning rate.

    Args:
        b1: in [0, 1): weight of the momentum in the direction.
        b2: in [0, 1): decay of the momentum.
        mu_dtype: None (the gradient's dtype), float32 or bfloat16 (L-016).

    >>> direction = scale_by_lion(b1=0.5, b2=0.75)
    >>> g = jnp.array([2.0, -2.0, 0.0])
    >>> direction.update(g, direction.init(g))[0]
    Array([ 1., -1.,  0.], dtype=float32)
    """
    config = _config(0.0, b1, b2, mu_dtype, 0.0)

    def update(
        updates: Any, state: LionState, params: Any = None, **extra: Any
    ) -> tuple[Any, LionState]:
        del extra
        params = updates if params is None else params
        return _step(lion_move, jnp.zeros_like, config, None, params, updates, state, lr=-1.0)

    return optax.GradientTransformationExtraArgs(lambda params: _init(params, config), update)


@known_settings
def fused_lion(
    learning_rate: Any = 1e-4,
    b1: float = 0.9,
    b2: float = 0.99,
    mu_dtype: Any = None,
    weight_decay: float = 0.0,
    mask: Any = None,
    *,
    decay: Decay = "coupled",
    lr_peak: float | None = None,
    maximize: bool = False,
    nonfinite: Nonfinite = "propagate",
) -> FusedLion:
    """Lion as one step from old to new parameters; arguments and errors as in :func:`lion`.

    ``step(params, grads, state, lr=None)`` returns new parameters and new state; ``lr`` replaces
    the learning rate and may be traced, so that one trace serves them all. Call it inside your own
    ``jax.jit`` with the parameters and the state donated: it updates them in place, with no
    temporary arrays, and equals ``lion_ports.reference`` bit for bit on the CPU. A gradient of None
    leaves its parameter alone (L-003).

    >>> optimizer = fused_lion(weight_decay=0.5, b1=0.5, b2=0.75)
    >>> step = jax.jit(optimizer.step, donate_argnums=(0, 2))
    >>> x = jnp.array([1.0, 1, 1])
    >>> x, state = step(x, jnp.array([2.0, -2, 0]), optimizer.init(x), lr=0.25)
    >>> x, state.mu
    (Array([0.625, 1.125, 0.875], dtype=float32), Array([ 0.5, -0.5,  0. ], dtype=float32))
    """
    config = _config(
        learning_rate, b1, b2, mu_dtype, weight_decay,
        decay=decay, lr_peak=lr_peak, maximize=maximize, nonfinite=nonfinite,
    )  # fmt: skip

    def step(params: Any, grads: Any, state: LionState, lr: Any = None) -> tuple[Any, LionState]:
        return _step(lion_update, lambda x: x, config, mask, params, grads, state, lr=lr)

    return FusedLion(lambda params: _init(params, config), step)


def _config(
    lr: Any, b1: float, b2: float, mu_dtype: Any, weight_decay: float, **options: Any
) -> LionConfig:
    named = mu_dtype is None or isinstance(mu_dtype, str)
    momentum_dtype = mu_dtype if named else jnp.dtype(mu_dtype).name
    return LionConfig(lr, (b1, b2), weight_decay, momentum_dtype=momentum_dtype, **options)


def _init(params: Any, config: LionConfig) -> LionState:
    """L-002, L-016: zeros made from the parameters; a complex momentum stays complex."""

    def zeros(path: Any, x: Any) -> Array:
        compute_dtype(jnp.asarray(x).dtype, _name(path))
        return jnp.zeros_like(x, dtype=None if jnp.iscomplexobj(x) else config.momentum_dtype)

    # Two zeros, because one buffer cannot be donated twice.
    count, skipped = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    return LionState(count, jax.tree.map_with_path(zeros, params), skipped)


def _step(
    update: Callable[..., tuple[Array, Array]],
    unmoved: Callable[[Array], Array],
    config: LionConfig,
    mask: Any,
    params: Any,
    grads: Any,
    state: LionState,
    *,
    lr: Any = None,
) -> tuple[Any, LionState]:
    """Apply ``update`` to every leaf that has a gradient; ``unmoved`` gives what the others get."""
    treedef: Any
    xs, treedef = jax.tree.flatten(params)
    gs, ms = treedef.flatten_up_to(grads), treedef.flatten_up_to(state.mu)
    mask = mask(params) if callable(mask) else mask
    decays = [True] * len(xs) if mask is None else jax.tree.leaves(jax.tree.broadcast(mask, params))
    if lr is None:
        lr = config.lr(state.count) if callable(config.lr) else config.lr  # L-015

    count, skipped = optax.safe_increment(state.count), state.skipped
    zero = opaque_zero(count)
    new_xs, new_ms = [unmoved(x) for x in xs], list(ms)
    for i, (x, g, m) in enumerate(zip(xs, gs, ms, strict=True)):
        if g is not None:  # L-003
            g = jnp.negative(g) if config.maximize else g  # L-018
            scalars = config.scalars(lr, decays=decays[i])
            new_xs[i], new_ms[i] = update(x, g, m, scalars, zero)

    if config.nonfinite != "propagate":
        ok = _all_finite(grads, config)
        new_xs = [jnp.where(ok, n, unmoved(x)) for n, x in zip(new_xs, xs, strict=True)]
        new_ms = [jnp.where(ok, n, m) for n, m in zip(new_ms, ms, strict=True)]
        count = jnp.where(ok, count, state.count)
        skipped = jnp.where(ok, skipped, optax.safe_increment(skipped))
    new_state = LionState(count, treedef.unflatten(new_ms), skipped)
    return treedef.unflatten(new_xs), new_state


def _all_finite(grads: Any, config: LionConfig) -> Array:
    """Whether every gradient is finite; under ``nonfinite="raise"`` an error where one is not."""
    leaves = jax.tree_util.tree_leaves_with_path(grads)
    names = [_name(path) for path, _ in leaves]
    finite = jnp.asarray([jnp.isfinite(g).all() for _, g in leaves], bool)

    def check(finite: Any, note: str = "") -> Any:
        if not finite.all():
            bad = (n for n, ok in zip(names, finite, strict=True) if not ok)
            raise NonFiniteError(bad, note)
        return finite.all()

    if config.nonfinite == "skip":
        return finite.all()
    if isinstance(finite, jax.core.Tracer):
        check = partial(check, note=", unless their buffers were donated, which frees them")
        ok: Array = jax.pure_callback(check, jax.ShapeDtypeStruct((), bool), finite)
        return ok
    return jnp.asarray(check(jax.device_get(finite)))


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path) or "the parameter"
