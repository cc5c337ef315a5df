"""Wrong gradients: unscaled, summed, clipped or skipped otherwise than they should be."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lion_ports import reference
from lion_ports.config import LionConfig
from lion_ports.conformance.mutants.making import Array, Mutant
from lion_ports.conformance.variants import Variant
from lion_ports.reference import State


def _effective(
    change: Callable[..., tuple[Mapping[str, Array | None], LionConfig, State]],
) -> Callable[[], Variant]:
    """A Lion that treats changed gradients, settings or state as it should treat the right ones."""

    def effective(params: Any, grads: Any, state: State, config: LionConfig) -> Any:
        grads, config, state = change(params, grads, state, config)
        return reference.effective_gradients(params, grads, state, config)

    return lambda: Variant(effective=effective)


def _each(change: Callable[..., Array], grads: Any, *others: Any) -> dict[str, Array | None]:
    return {
        n: None if g is None else change(g, *(other[n] for other in others))
        for n, g in grads.items()
    }


def _scale(config: LionConfig, state: State) -> float:
    scale: Any = state.loss_scale if config.dynamic else config.loss_scale
    return 1.0 if scale is None else float(scale)


def _unscaled_narrowly(params: Any, grads: Any, state: State, config: LionConfig) -> Any:
    if config.dynamic or config.loss_scale is None:
        return grads, config, state
    scale = _scale(config, state)
    return _each(lambda g: g / g.dtype.type(scale), grads), replace(config, loss_scale=None), state


def _unscaled_twice(params: Any, grads: Any, state: State, config: LionConfig) -> Any:
    scale = _scale(config, state)
    return _each(lambda g: g.astype(g.dtype) / g.dtype.type(scale), grads), config, state


def _static_scale(params: Any, grads: Any, state: State, config: LionConfig) -> Any:
    fixed = state._replace(loss_scale=2.0**15, good_steps=0) if config.dynamic else state
    return grads, config, fixed


def _unbounded_scale() -> Variant:
    def effective(params: Any, grads: Any, state: State, config: LionConfig) -> Any:
        before = state.loss_scale
        due, state = reference.effective_gradients(params, grads, state, config)
        interval = config.loss_scale_growth_interval
        if config.dynamic and before is not None and before >= 2.0**24 and state.good_steps == 0:
            state = state._replace(loss_scale=before * 2 if interval else before)
        return due, state

    return Variant(effective=effective)


def _summed(params: Any, grads: Any, state: State, config: LionConfig) -> Any:
    steps = config.gradient_accumulation_steps
    return _each(lambda g: g * g.dtype.type(steps), grads), config, state


def _last(params: Any, grads: Any, state: State, config: LionConfig) -> Any:
    grads, config, state = _summed(params, grads, state, config)
    return grads, config, state._replace(gradient_sum={}, seen={})


def _narrow_sums(params: Any, grads: Any, state: State, config: LionConfig) -> Any:
    """Each sum is rounded, the last one too, and goes on as if it were the gradient."""
    if config.gradient_accumulation_steps == 1 or config.loss_scale is not None:
        return grads, config, state
    sums, given = dict(state.gradient_sum), dict(grads)
    for name, g in grads.items():
        if g is not None and not np.iscomplexobj(g):
            dtype = reference.compute_dtype(params[name].dtype)
            total = sums.get(name, dtype(0)) + g.astype(dtype)
            given[name] = np.asarray(total).astype(params[name].dtype).astype(dtype)
            sums[name] = np.zeros_like(given[name])
    return given, config, state._replace(gradient_sum=sums)


def _clipped_first(params: Any, grads: Any, state: State, config: LionConfig) -> Any:
    present = {n: g for n, g in grads.items() if g is not None}
    clipped = reference.clipped(present, config)
    unclipped = replace(config, clipvalue=None, clipnorm=None, global_clipnorm=None)
    return {**grads, **clipped}, unclipped, state


def _normalising(params: Any, grads: Any, state: State, config: LionConfig) -> Any:
    """Norms below the bound are brought up to it."""
    bound = config.clipnorm or config.global_clipnorm
    present = [np.abs(g).astype(np.float64) for g in grads.values() if g is not None]
    if bound is None or not present:
        return grads, config, state
    whole = np.sqrt(sum(np.sum(g * g) for g in present))

    def scaled(g: Array) -> Array:
        norm = (
            whole if config.global_clipnorm else np.sqrt(np.sum(np.abs(g).astype(np.float64) ** 2))
        )
        return (g * (bound / norm)).astype(g.dtype) if 0 < norm < bound else g

    return _each(scaled, grads), config, state


def _skipping_one(params: Any, grads: Any, state: State, config: LionConfig) -> Any:
    """Only the parameters whose own gradient is not finite are left out."""
    if not config.skips:
        return grads, config, state
    return (
        {n: g if g is not None and np.isfinite(g).all() else None for n, g in grads.items()},
        config,
        state,
    )


MUTANTS: dict[str, Mutant] = {
    "skip-one-parameter": Mutant(
        "a gradient that is not finite leaves out its own parameter alone",
        _effective(_skipping_one),
    ),
    "loss-scale-twice": Mutant("gradients are unscaled twice", _effective(_unscaled_twice)),
    "loss-scale-in-float16": Mutant(
        "gradients are unscaled in their own dtype", _effective(_unscaled_narrowly)
    ),
    "loss-scale-static": Mutant(
        "a dynamic loss scale stays where it began", _effective(_static_scale)
    ),
    "loss-scale-unbounded": Mutant("a dynamic loss scale grows beyond 2^24", _unbounded_scale),
    "accumulate-sum": Mutant(
        "an update is made with the sum of the gradients, not with their mean", _effective(_summed)
    ),
    "accumulate-last": Mutant(
        "an update is made with the last of the gradients", _effective(_last)
    ),
    "accumulate-in-parameter-dtype": Mutant(
        "gradients are added up in the parameter's dtype", _effective(_narrow_sums)
    ),
    "clip-before-mean": Mutant(
        "the gradients of micro-steps are clipped, not their mean", _effective(_clipped_first)
    ),
    "clip-normalises": Mutant(
        "smaller norms are brought up to the bound", _effective(_normalising)
    ),
}
"""Mutant by name."""
