"""The Lion specification as NumPy code. docs/spec.md numbers the rules that the comments cite.

Arrays may be float64, float32, float16, complex128, complex64 or ``ml_dtypes.bfloat16``. Nothing
here writes to its inputs; results are new arrays.

>>> x, m = np.float32([1, 1, 1]), np.float32([0.5, -0.5, 0])
>>> g = np.float32([1, 1, 0])
>>> lion_update(x, g, m, scalars=Scalars(lr=0.25, b1=0.5, b2=0.75, wd=0.5))
(array([0.625, 0.625, 0.875], dtype=float32), array([ 0.625, -0.125,  0.   ], dtype=float32))
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

from lion_ports.config import LionConfig, Scalars, checked_rate
from lion_ports.errors import DtypeError, NonFiniteError

Array = NDArray[Any]
Arrays = Mapping[str, Array]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_COMPUTE: dict[np.dtype[Any], type[np.floating[Any]]] = {
    BFLOAT16: np.float32,
    np.dtype(np.float16): np.float32,
    np.dtype(np.float32): np.float32,
    np.dtype(np.float64): np.float64,
}


class State(NamedTuple):
    """What a step carries to the next: updates done, updates skipped, and the momentum (L-002)."""

    count: int  # type: ignore[assignment]  # a field named like a method of tuple, as in optax
    skipped: int
    momentum: dict[str, Array]


def compute_dtype(dtype: DTypeLike, name: str = "") -> type[np.floating[Any]]:
    """The dtype to compute in: float64 for float64 parameters, else float32 (L-005).

    Raises:
        DtypeError: for integers, booleans and whatever else is not a floating-point parameter;
            the message calls it ``name``.
    """
    try:
        return _COMPUTE[np.dtype(dtype)]
    except (KeyError, TypeError):
        raise DtypeError.of(name, dtype) from None


def widen(array: Array, dtype: DTypeLike) -> Array:
    """Load an array into the compute dtype (L-005)."""
    return array.astype(dtype)


def narrow(array: Array, dtype: DTypeLike) -> Array:
    """Store an array of the compute dtype: one rounding to nearest even (L-008)."""
    if array.dtype == np.float64 and dtype == BFLOAT16:
        array = _round_to_odd(array)  # ml_dtypes goes by way of float32, and would round twice
    return np.asarray(array.astype(dtype))  # NumPy turns 0-d results into scalars


def _round_to_odd(array: Array) -> Array:
    """float64 to the float32 beside it whose last bit is 1: rounding that once more is exact."""
    near = array.astype(np.float32)
    bits = near.view(np.uint32)
    inexact = (near.astype(np.float64) != array) & np.isfinite(array) & (bits & 1 == 0)
    grow = np.abs(array) > np.abs(near.astype(np.float64))
    return np.where(inexact, np.where(grow, bits + 1, bits - 1), bits).view(np.float32)


def sign(c: Array) -> Array:
    """-1, +0 or 1; NaN stays NaN, and both zeros give +0 (L-010)."""
    return np.where(np.isnan(c), c, np.sign(c) + c.dtype.type(0))


def lion_update(
    x: Array, g: Array, m: Array, scalars: Scalars, *, flush: bool = False
) -> tuple[Array, Array]:
    """One Lion update of one parameter (L-001; Program 1 of the paper).

    Args:
        x: parameter, any shape and any floating or complex dtype.
        g: gradient, same shape, any floating dtype; complex where ``x`` is.
        m: momentum as stored, same shape.
        scalars: learning rate, betas and weight decay.
        flush: replace subnormal numbers by zero before and after every operation, as XLA on the
            CPU and most accelerators do (L-012).

    Returns:
        The new parameter in the dtype of ``x`` and the new momentum in the dtype of ``m``.

    Raises:
        DtypeError: if ``x`` is neither floating nor complex.
    """
    if np.iscomplexobj(x):  # L-014: a pair of reals
        real = lion_update(x.real, g.real, m.real, scalars, flush=flush)
        imag = lion_update(x.imag, g.imag, m.imag, scalars, flush=flush)
        return _complex(real[0], imag[0]), _complex(real[1], imag[1])

    dtype = compute_dtype(x.dtype)
    ftz = _flush if flush else _keep
    # L-006: 1-b in float64, then every scalar is rounded once to the compute dtype.
    lr, b1, omb1, b2, omb2, wd = (
        dtype(s)
        for s in (scalars.lr, scalars.b1, 1 - scalars.b1, scalars.b2, 1 - scalars.b2, scalars.wd)
    )
    lr, wd = ftz(lr), ftz(wd)

    # L-011: infinities and NaN follow IEEE 754, so NumPy need not warn of them.
    with np.errstate(all="ignore"):
        x_, g_, m_ = (ftz(widen(a, dtype)) for a in (x, g, m))
        # L-007: one IEEE operation at a time, in this order.
        c = ftz(ftz(b1 * m_) + ftz(omb1 * g_))
        u = sign(c)
        if scalars.wd != 0:  # L-009
            u = ftz(u + ftz(wd * x_))
        x_ = ftz(x_ - ftz(lr * u))
        m_ = ftz(ftz(b2 * m_) + ftz(omb2 * g_))
        return narrow(x_, x.dtype), narrow(m_, m.dtype)


def init(params: Arrays, config: LionConfig) -> State:
    """The state before the first step: a zero momentum beside every parameter (L-002, L-016).

    Raises:
        DtypeError: if a parameter is neither floating nor complex.
    """
    momentum = {}
    for name, x in params.items():
        compute_dtype(x.real.dtype, name)
        momentum[name] = np.zeros(x.shape, _storage(x.dtype, config))
    return State(0, 0, momentum)


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
        flush: as in :func:`lion_update`.

    Returns:
        New parameters and new state.

    Raises:
        NonFiniteError: if ``config.nonfinite`` is ``"raise"`` and a gradient is not finite (L-019).
    """
    present = {name: g for name, g in grads.items() if g is not None}
    if config.nonfinite != "propagate":
        bad = [name for name, g in present.items() if not np.isfinite(g).all()]
        if bad and config.nonfinite == "raise":
            raise NonFiniteError(bad)
        if bad:
            return dict(params), state._replace(skipped=state.skipped + 1)

    if lr is None:
        lr = config.lr(state.count) if callable(config.lr) else config.lr  # L-015
        lr = float(checked_rate(lr))
    new_params, momentum = dict(params), dict(state.momentum)
    for name, g in present.items():
        scalars = config.scalars(lr, decays=mask is None or mask[name])
        g = np.negative(g) if config.maximize else g  # L-018
        new_params[name], momentum[name] = lion_update(
            params[name], g, momentum[name], scalars, flush=flush
        )
    return new_params, State(state.count + 1, state.skipped, momentum)


def _storage(dtype: np.dtype[Any], config: LionConfig) -> DTypeLike:
    """L-016: the parameter's dtype or the one asked for; a complex momentum stays complex."""
    if config.momentum_dtype is None or dtype.kind == "c":
        return dtype
    return BFLOAT16 if config.momentum_dtype == "bfloat16" else np.dtype(config.momentum_dtype)


def _complex(real: Array, imag: Array) -> Array:
    result = np.empty(real.shape, np.result_type(real.dtype, np.complex64))
    result.real, result.imag = real, imag
    return result


def _keep(array: Any) -> Any:
    return array


def _flush(array: Any) -> Any:
    """Subnormal numbers become zeros of their sign."""
    tiny = np.finfo(array.dtype).smallest_normal
    return np.where(np.abs(array) < tiny, np.copysign(array.dtype.type(0), array), array)
