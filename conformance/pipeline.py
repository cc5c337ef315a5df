"""The gradients of a trial's updates, nearly exact, and how far off they may be.

An implementation may unscale, sum and clip in another order or in other words. What that can change
is bounded here (docs/conformance.md, "Gradients"); ``bound.py`` carries it on.
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lion_ports import reference
from lion_ports.conformance.bits import reals
from lion_ports.conformance.trial import Array, Trial

K_UNSCALE = 3
"""Roundings of 1/loss_scale, of the product with it, and one for terms of second order."""
K_MEAN = 4
"""Roundings of 1/steps and of the product, in two forms, and one, beside one for each sum."""
K_NORM = 8
"""Roundings of root, bound, quotient and product, and for the squares, beside one for each sum."""


class Effective(NamedTuple):
    """A gradient as pairs of reals in a wide dtype, and how far another may be from it."""

    g: Array
    error: Array


def effective_gradients(trial: Trial) -> list[dict[str, Effective] | None]:
    """For each step of a trial what each parameter is updated with; None where none is."""
    bounds: dict[str, Any] = {"clipvalue": None, "clipnorm": None, "global_clipnorm": None}
    config = replace(trial.config, **bounds)
    if config.nonfinite == "raise":  # it moves as little as what is skipped
        config = replace(config, nonfinite="skip")
    upright = replace(config, maximize=False)
    params = {n: _wide(x) for n, x in trial.params.items()}
    state, sizes = reference.init(params, config), reference.init(params, upright)
    steps: list[dict[str, Effective] | None] = []
    for step in trial.steps:
        grads = {n: None if g is None else _wide(g) for n, g in step.grads.items()}
        absolute = {n: None if g is None else _absolute(g) for n, g in grads.items()}
        due, state = reference.effective_gradients(params, grads, state, config)
        size, sizes = reference.effective_gradients(params, absolute, sizes, upright)
        if due is None or size is None:
            steps.append(None)
            continue
        whole = {n: reals(g) for n, g in due.items()}
        errors = {n: _roundings(trial, n) * _finite(reals(s)) for n, s in size.items()}
        with np.errstate(all="ignore"):
            clipped = reference.clipped(whole, trial.config)
            errors = _clipped_errors(trial, whole, clipped, errors)
        steps.append({n: Effective(g, errors[n]) for n, g in clipped.items()})
    return steps


def _roundings(trial: Trial, name: str) -> float:
    """Before clipping, in units of the mean of absolute gradients."""
    steps = trial.config.gradient_accumulation_steps
    count = K_UNSCALE * (trial.config.loss_scale is not None) + (steps + K_MEAN) * (steps > 1)
    return count * unit_roundoff(trial.params[name])


def _clipped_errors(
    trial: Trial, whole: dict[str, Array], clipped: dict[str, Array], errors: dict[str, Any]
) -> dict[str, Any]:
    """After clipping: a norm is off by the roundings of its sum, and by the errors in it."""
    config = trial.config
    u = {n: unit_roundoff(trial.params[n]) for n in whole}
    if config.clipvalue is not None:
        return {n: e + u[n] * np.abs(clipped[n]) for n, e in errors.items()}
    if config.clipnorm is None and config.global_clipnorm is None:
        return errors
    result = {}
    for name, g in clipped.items():
        together = list(whole) if config.global_clipnorm is not None else [name]
        norm, after, off = (_norm([a[n] for n in together]) for a in (whole, clipped, errors))
        count = sum(whole[n].size for n in together)
        relative = (count + K_NORM) * max(u[n] for n in together) + (off / norm if norm else 0.0)
        shrunk = after / norm if norm else 1.0
        result[name] = shrunk * errors[name] + relative * np.abs(g)
    return result


def _norm(arrays: list[Array]) -> float:
    return math.sqrt(sum(float(np.sum(np.square(a, dtype=np.float64))) for a in arrays))


def unit_roundoff(x: Array) -> float:
    """Of the compute dtype of a parameter (L-005)."""
    return float(np.finfo(reference.compute_dtype(x.dtype)).eps) / 2


def _finite(size: Array) -> Array:
    """Numbers that are not finite are told by IEEE 754, and not by a bound."""
    return np.where(np.isfinite(size), size, 0)


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _absolute(g: Array) -> Array:
    if g.dtype.kind != "c":
        return np.abs(g)
    result: Array = np.abs(g.real) + 1j * np.abs(g.imag)
    return result
