"""A step over named parameters."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from lion_ports.config import LOSS_SCALE_INITIAL, LionConfig, scheduled
from lion_ports.reference.arithmetic import (
    BFLOAT16,
    Array,
    Arrays,
    as_complex,
    as_reals,
    compute_dtype,
    narrow,
    widen,
)
from lion_ports.reference.gradients import effective_gradients
from lion_ports.reference.state import NONE, State
from lion_ports.reference.update import average, lion_update


def init(params: Arrays, config: LionConfig) -> State:
    """The state before the first step: a zero momentum beside every parameter (L-002, L-016).

    Raises:
        DtypeError: if a parameter is neither floating nor complex.
    """
    momentum = {}
    for name, x in params.items():
        compute_dtype(x.dtype, name)
        momentum[name] = np.zeros(x.shape, _storage(x.dtype, config))
    return State(
        0,
        0,
        momentum,
        average=NONE if config.ema_decay is None else {n: _copied(x) for n, x in params.items()},
        loss_scale=LOSS_SCALE_INITIAL if config.dynamic else None,
        lr_peak=config.lr_peak,
    )


def step(
    params: Arrays,
    grads: Mapping[str, Array | None],
    state: State,
    config: LionConfig,
    *,
    lr: float | None = None,
    mask: Mapping[str, bool] | None = None,
    flush: bool = False,
) -> tuple[dict[str, Array], State]:
    """One Lion step over named parameters.

    Args:
        params: parameters by name.
        grads: gradients by name; a parameter whose gradient is None is left alone (L-003).
        state: from :func:`init` or the step before.
        config: settings.
        lr: this step's learning rate, in place of ``config.lr``.
        mask: names that decay; None: all of them (L-017).
        flush: as in :func:`lion_ports.reference.lion_update`.

    Returns:
        New parameters and new state.

    Raises:
        NonFiniteError: if ``config.nonfinite`` is ``"raise"`` and a gradient is not finite (L-019).
    """
    due, state = effective_gradients(params, grads, state, config, flush=flush)
    if due is None:
        return dict(params), state
    lr = scheduled("lr", config.lr, state.count) if lr is None else lr  # L-015
    wd = scheduled("weight_decay", config.weight_decay, state.count)
    new_params, momentum = dict(params), dict(state.momentum)
    for name, g in due.items():
        decays = mask is None or mask[name]
        scalars = config.scalars(lr, wd, state.lr_peak, decays=decays)
        new_params[name], momentum[name] = lion_update(
            params[name], g, momentum[name], scalars, config.rule, flush=flush
        )
    state = state._replace(count=state.count + 1, momentum=momentum)
    return averaged(new_params, due, state, config, flush=flush)


def averaged(
    params: dict[str, Array],
    updated: Mapping[str, Any],
    state: State,
    config: LionConfig,
    *,
    flush: bool = False,
) -> tuple[dict[str, Array], State]:
    """Let the averages follow the parameters in ``updated``, and overwrite them in turn (L-029)."""
    if config.ema_decay is None:
        return params, state
    averages = {
        n: average(e, params[n], config.ema_decay, flush=flush) if n in updated else e
        for n, e in state.average.items()
    }
    if config.ema_overwrite_every and state.count % config.ema_overwrite_every == 0:
        params = {n: _stored(averages[n], x) if n in updated else x for n, x in params.items()}
    return params, state._replace(average=averages)


def _storage(dtype: np.dtype[Any], config: LionConfig) -> DTypeLike:
    """L-016: the parameter's dtype or the one asked for; a complex momentum stays complex."""
    if config.momentum_dtype is None or dtype.kind == "c":
        return dtype
    return BFLOAT16 if config.momentum_dtype == "bfloat16" else np.dtype(config.momentum_dtype)


def _copied(x: Array) -> Array:
    """A copy of a parameter in its compute dtype."""
    return x.copy() if x.dtype.kind == "c" else widen(x, compute_dtype(x.dtype)).copy()


def _stored(e: Array, x: Array) -> Array:
    """An average in the dtype of its parameter."""
    if np.iscomplexobj(x):
        return as_complex(narrow(as_reals(e), x.real.dtype))
    return narrow(e, x.dtype)
