"""Lion as an optax transform and as one in-place step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from lion_ports.config import LION, Nonlinearity, known_settings
from lion_ports.errors import ConfigError
from lion_ports.jax.inputs import number
from lion_ports.jax.lion_state import LionState, init
from lion_ports.jax.settings import Settings, settings, takes
from lion_ports.jax.step import AS_TRANSFORM, IN_PLACE, step


class FusedLion(NamedTuple):
    """Two pure functions: ``init(params)`` and ``step(params, grads, state, lr=None)``."""

    init: Callable[[Any], LionState]
    step: Callable[..., tuple[Any, LionState]]


@takes(settings)
def lion(given: Settings) -> optax.GradientTransformationExtraArgs:
    """Lion (EvoLved Sign Momentum; Program 1 of arXiv 2302.06675) as an optax transform.

        u  = sign(b1*m + (1 - b1)*g)
        x' = x - lr*(u + wd*x)
        m' = b2*m + (1 - b2)*g

    Its updates are float32 for bfloat16 and float16 parameters, so that ``optax.apply_updates``
    rounds once (L-008), and -0 for a parameter that stays. It belongs at the end of a chain. To
    update in place under donation use :func:`fused_lion`. docs/jax.md has recipes for the rest of
    optax, and says what ``optax.inject_hyperparams`` and ``optax.apply_if_finite`` need.

    Args:
        learning_rate: a number >= 0, a scalar array, or a schedule ``count -> lr`` (L-015).
        b1: in [0, 1): weight of the momentum in the direction ``u``.
        b2: in [0, 1): decay of the momentum.
        mu_dtype: None (the parameter's dtype), float32 or bfloat16 (L-016); or ``"int8"``, with a
            scale for every 128 elements in ``state.mu_scale`` (L-031).
        weight_decay: decoupled weight decay ``wd`` >= 0, or a schedule ``count -> wd`` (L-017).
        mask: a tree of bools, a prefix of the parameters, or a function from the parameters to
            one: what decays (L-017).
        decay: ``"coupled"`` (``lr * wd``) or ``"independent"`` (``wd * lr / lr_peak``) (L-017).
        lr_peak: what independent decay divides by, kept in ``state.lr_peak``; None:
            ``learning_rate``, if it is a number.
        correction_bits: keep 8 or 16 bits beside each bfloat16 parameter that it lacks of a
            float32, in ``state.correction``; only :func:`fused_lion` can (L-032).
        maximize: ascend (L-018).
        nonfinite: ``"propagate"``, ``"skip"`` (counted in ``state.skipped``) or ``"raise"``; inside
            ``jax.jit`` the error comes out of a callback, as a JaxRuntimeError, and what was
            donated to the failed step is gone (L-019).
        cautious: leave out of ``u`` what the gradient opposes, and enlarge the rest (L-022).
        cautious_cap: by at most this factor, >= 1 (L-022).
        cautious_decay: decay only where ``u`` pulls towards zero as well (L-023).
        nonlinearity: ``"sign"``, ``"tanh"``, ``"clip"`` or ``"l2"``, of ``steepness * c`` (L-028).
        steepness: > 0 (L-028).
        clipvalue: bound of each element of a gradient (L-026).
        clipnorm: bound of the norm of each gradient (L-027).
        global_clipnorm: bound of the norm of all gradients together (L-027).
        gradient_accumulation_steps: micro-steps to one update by their mean; None: 1 (L-025).
        ema_decay: in [0, 1): keep moving averages; :func:`averaged_params` has them (L-029).
        ema_overwrite_every: replace the parameters by them after so many updates; only
            :func:`fused_lion` can (L-029).
        loss_scale: what the loss was multiplied by: a number, or ``"dynamic"`` for what
            ``state.loss_scale`` holds (L-024).
        loss_scale_growth_interval: finite steps after which that is doubled; None: 2000 (L-024).

    Raises:
        ConfigError: a setting is out of its range or unknown; or from ``update``, the state, the
            gradients or the mask do not go with the parameters or the settings.
        DtypeError: from ``init``; a parameter is neither floating nor complex.
        NonFiniteError: from ``update``, under ``nonfinite="raise"``.

    >>> import jax.numpy as jnp, optax
    >>> x, optimizer = jnp.array([1.0, 1, 1]), lion(0.25, b1=0.5, b2=0.75, weight_decay=0.5)
    >>> updates, state = optimizer.update(jnp.array([2.0, -2, 0]), optimizer.init(x), x)
    >>> optax.apply_updates(x, updates), state.mu
    (Array([0.625, 1.125, 0.875], dtype=float32), Array([ 0.5, -0.5,  0. ], dtype=float32))
    """
    config, mask = given
    problems = []
    if config.ema_overwrite_every is not None:
        problems.append(
            "ema_overwrite_every replaces parameters, and an optax transform only adds to them; "
            "use fused_lion"
        )
    if config.correction_bits is not None:
        problems.append(
            "correction_bits rounds parameters and keeps what is lost, and an optax transform only "
            "adds to them; use fused_lion"
        )
    if problems:
        raise ConfigError(*problems)

    def update(
        updates: Any, state: LionState, params: Any = None, **extra: Any
    ) -> tuple[Any, LionState]:
        del extra
        if params is None:
            raise ConfigError("lion needs the parameters: call update(updates, state, params)")
        return step(AS_TRANSFORM, config, mask, params, updates, state)

    return optax.GradientTransformationExtraArgs(lambda params: init(params, config), update)


@known_settings
def scale_by_lion(
    b1: float = 0.9,
    b2: float = 0.99,
    mu_dtype: Any = None,
    *,
    cautious: bool = False,
    cautious_cap: float = LION.cautious_cap,
    nonlinearity: Nonlinearity = "sign",
    steepness: float = LION.steepness,
) -> optax.GradientTransformationExtraArgs:
    """Lion's direction ``u`` alone, to be chained with decay and a learning rate.

    Args:
        b1: in [0, 1): weight of the momentum in the direction.
        b2: in [0, 1): decay of the momentum.
        mu_dtype: None (the gradient's dtype), float32 or bfloat16 (L-016), or ``"int8"`` (L-031).
        cautious: and the rest as in :func:`lion`.

    >>> import jax.numpy as jnp
    >>> direction = scale_by_lion(b1=0.5, b2=0.75)
    >>> g = jnp.array([2.0, -2.0, 0.0])
    >>> direction.update(g, direction.init(g))[0]
    Array([ 1., -1.,  0.], dtype=float32)
    """
    config, _ = settings(
        0.0,
        b1,
        b2,
        mu_dtype,
        cautious=cautious,
        cautious_cap=cautious_cap,
        nonlinearity=nonlinearity,
        steepness=steepness,
    )

    def update(
        updates: Any, state: LionState, params: Any = None, **extra: Any
    ) -> tuple[Any, LionState]:
        del extra
        params = updates if params is None else params
        return step(AS_TRANSFORM, config, None, params, updates, state, lr=-1.0)

    return optax.GradientTransformationExtraArgs(lambda params: init(params, config), update)


@takes(settings)
def fused_lion(given: Settings) -> FusedLion:
    """Lion as one step from old to new parameters; arguments and errors as in :func:`lion`.

    ``step(params, grads, state, lr=None)`` returns new parameters and new state; ``lr`` replaces
    the learning rate and may be traced, so that one trace serves them all (a number is checked as
    ``learning_rate`` is, what is traced by its shape). Call it inside your own
    ``jax.jit`` with the parameters and the state donated: it updates them in place, with no
    temporary arrays, and equals ``lion_ports.reference`` bit for bit on the CPU. A gradient of None
    leaves its parameter alone (L-003).

    >>> import jax, jax.numpy as jnp
    >>> optimizer = fused_lion(weight_decay=0.5, b1=0.5, b2=0.75)
    >>> step = jax.jit(optimizer.step, donate_argnums=(0, 2))
    >>> x = jnp.array([1.0, 1, 1])
    >>> x, state = step(x, jnp.array([2.0, -2, 0]), optimizer.init(x), lr=0.25)
    >>> x, state.mu
    (Array([0.625, 1.125, 0.875], dtype=float32), Array([ 0.5, -0.5,  0. ], dtype=float32))
    """
    config, mask = given

    def fused(params: Any, grads: Any, state: LionState, lr: Any = None) -> tuple[Any, LionState]:
        lr = None if lr is None else number("lr", lr)
        return step(IN_PLACE, config, mask, params, grads, state, lr=lr)

    return FusedLion(lambda params: init(params, config), fused)
