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
    compute_dtype,
    widen,
)
from lion_ports.reference.gradients import effective_gradients
from lion_ports.reference.state import NONE, State
from lion_ports.reference.storage import (
    copies,
    encode,
    load_momentum,
    load_parameter,
    store_momentum,
    store_parameter,
)
from lion_ports.reference.update import average, lion_update


def init(params: Arrays, config: LionConfig) -> State:
    """The state before the first step: a zero momentum beside every parameter (L-002, L-016).

    Raises:
        DtypeError: if a parameter is neither floating nor complex.
    """
    momentum, scale, correction = {}, {}, {}
    for name, x in params.items():
        compute_dtype(x.dtype, name)
        momentum[name] = np.zeros(x.shape, _storage(x.dtype, config))
        if momentum[name].dtype == np.int8:
            momentum[name], scale[name] = encode(np.zeros(x.shape, np.float32), 0)
        if config.correction_bits and x.dtype == BFLOAT16:
            correction[name] = np.zeros(x.shape, f"int{config.correction_bits}")
    return State(
        0,
        0,
        momentum,
        scale,
        correction,
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
    new_params, state = dict(params), copies(state)
    for name, g in due.items():
        decays = mask is None or mask[name]
        scalars = config.scalars(lr, wd, state.lr_peak, decays=decays)
        x, m = load_parameter(params, state, name), load_momentum(state, name)
        x, m = lion_update(x, g, m, scalars, config.rule, flush=flush)
        store_parameter(new_params, state, name, x, state.count)
        store_momentum(state, name, m)
    state = state._replace(count=state.count + 1)
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
    params, state = dict(params), copies(state)
    overwrite = config.ema_overwrite_every and state.count % config.ema_overwrite_every == 0
    averages = dict(state.average)
    for n in updated:
        x = load_parameter(params, state, n)
        averages[n] = average(averages[n], x, config.ema_decay, flush=flush)
        if overwrite:
            store_parameter(params, state, n, averages[n], state.count - 1)
    return params, state._replace(average=averages)


def _storage(dtype: np.dtype[Any], config: LionConfig) -> DTypeLike:
    """L-016: the parameter's dtype or the one asked for; a complex momentum stays complex."""
    if config.momentum_dtype is None or dtype.kind == "c":
        return dtype
    return BFLOAT16 if config.momentum_dtype == "bfloat16" else np.dtype(config.momentum_dtype)


def _copied(x: Array) -> Array:
    """A copy of a parameter in its compute dtype."""
    return x.copy() if x.dtype.kind == "c" else widen(x, compute_dtype(x.dtype)).copy()
