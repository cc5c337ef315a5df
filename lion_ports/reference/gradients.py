"""What is done to the gradients before the update: L-024, L-019, L-025, L-026, L-027, L-018."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lion_ports.config import LOSS_SCALE_MAX, LOSS_SCALE_MIN, LionConfig
from lion_ports.errors import NonFiniteError
from lion_ports.reference.arithmetic import (
    Array,
    Arrays,
    Flush,
    as_complex,
    as_reals,
    compute_dtype,
    flushing,
    kept,
    widen,
)
from lion_ports.reference.state import NONE, State


def effective_gradients(
    params: Arrays,
    grads: Mapping[str, Array | None],
    state: State,
    config: LionConfig,
    *,
    flush: bool = False,
) -> tuple[dict[str, Array] | None, State]:
    """The gradients that the update of this step is made with; None if it makes none.

    Args:
        params: parameters by name.
        grads: gradients by name as they were given; None for a parameter without one (L-003).
        state: before the step.
        config: settings.
        flush: as in ``lion_update``.

    Returns:
        Gradients by name, without those that are missing: as they were given, or in the compute
        dtype where an option changes them; and the state with its counters, sums and loss scale
        brought forward.

    Raises:
        NonFiniteError: under ``nonfinite="raise"``, if a gradient is not finite (L-019).
    """
    present = {name: g for name, g in grads.items() if g is not None}
    bad = [name for name, g in present.items() if not np.isfinite(g).all()]
    if bad and config.nonfinite == "raise":
        raise NonFiniteError(bad)
    scale = state.loss_scale if config.dynamic else config.loss_scale
    if config.dynamic:
        state = rescaled(state, finite=not bad, interval=config.loss_scale_growth_interval)
    if bad and config.skips:
        return None, state._replace(skipped=state.skipped + 1)

    if config.gradient_accumulation_steps == 1 and scale is None and not config.clips:
        return {n: np.negative(g) if config.maximize else g for n, g in present.items()}, state

    ftz = flushing(flush)
    with np.errstate(all="ignore"):
        due = {n: ftz(_loaded(g, params[n])) for n, g in present.items()}
        if scale is not None:
            due = {n: unscaled(g, scale, ftz) for n, g in due.items()}
        if config.gradient_accumulation_steps > 1:
            pairs = {n: as_reals(a) for n, a in state.gradient_sum.items()}
            state = state._replace(gradient_sum=pairs)
            summed, state = accumulated(due, state, config.gradient_accumulation_steps, ftz)
            state = state._replace(gradient_sum=_like(params, state.gradient_sum))
            if summed is None:
                return None, state
            due = summed
        due = clipped(due, config, ftz)
        if config.maximize:  # L-018
            due = {n: np.negative(g) for n, g in due.items()}
    return _like(params, due), state


def rescaled(state: State, *, finite: bool, interval: int) -> State:
    """The state with the dynamic loss scale of the next step (L-024)."""
    assert state.loss_scale is not None
    if not finite:
        return state._replace(loss_scale=max(state.loss_scale / 2, LOSS_SCALE_MIN), good_steps=0)
    if state.good_steps + 1 < interval:
        return state._replace(good_steps=state.good_steps + 1)
    return state._replace(loss_scale=min(state.loss_scale * 2, LOSS_SCALE_MAX), good_steps=0)


def unscaled(g: Array, scale: Any, ftz: Flush) -> Array:
    """The gradient of the loss itself (L-024)."""
    return np.asarray(ftz(g * g.dtype.type(1 / scale)))


def accumulated(
    grads: Arrays, state: State, steps: int, ftz: Flush
) -> tuple[dict[str, Array] | None, State]:
    """The means of ``steps`` gradients, of which these are the last; None before (L-025)."""
    sums, seen = dict(state.gradient_sum), dict(state.seen)
    for name, g in grads.items():
        sums[name] = ftz(sums.get(name, g.dtype.type(0)) + g)
        seen[name] = seen.get(name, 0) + 1
    if state.micro + 1 < steps:
        return None, state._replace(micro=state.micro + 1, gradient_sum=sums, seen=seen)
    means = {n: np.asarray(ftz(s * s.dtype.type(1 / steps))) for n, s in sums.items()}
    return means, state._replace(micro=0, gradient_sum=NONE, seen=NONE)


def clipped(grads: Arrays, config: LionConfig, ftz: Flush = kept) -> dict[str, Array]:
    """Gradients in the compute dtype, as pairs where complex, within their bound (L-026, L-027)."""
    if config.clipvalue is not None:
        return {n: clipped_value(g, config.clipvalue) for n, g in grads.items()}
    if config.clipnorm is not None:
        factors = {n: clip_factor(squared_norm(g), config.clipnorm) for n, g in grads.items()}
    elif config.global_clipnorm is not None and grads:
        widest = np.result_type(*(g.dtype for g in grads.values())).type
        total = sum((widest(squared_norm(g)) for g in grads.values()), widest(0))
        factors = dict.fromkeys(grads, clip_factor(total, config.global_clipnorm))
    else:
        return dict(grads)
    return {n: np.asarray(ftz(g * g.dtype.type(factors[n]))) for n, g in grads.items()}


def clipped_value(g: Array, bound: float) -> Array:
    """Each element within ``[-bound, bound]`` (L-026)."""
    v = g.dtype.type(bound)
    return np.asarray(np.minimum(np.maximum(g, -v), v))


def squared_norm(g: Array) -> Any:
    """The sum of squares, in the compute dtype (L-027)."""
    return np.sum(g * g, dtype=g.dtype)


def clip_factor(squared: Any, bound: float) -> Any:
    """What brings a norm within ``bound``; 1 where it is (L-027)."""
    v = squared.dtype.type(bound)
    return v / np.maximum(np.sqrt(squared), v)


def _like(params: Arrays, arrays: Arrays) -> dict[str, Array]:
    """Complex arrays of pairs, where the parameters are complex."""
    return {n: as_complex(a) if np.iscomplexobj(params[n]) else a for n, a in arrays.items()}


def _loaded(g: Array, x: Array) -> Array:
    """In the compute dtype of its parameter (L-005), a complex one as pairs."""
    return widen(as_reals(g), compute_dtype(x.dtype))
