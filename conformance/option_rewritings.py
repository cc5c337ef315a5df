"""Right options, written in other ways that round differently: scales, sums, norms and averages."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import LionConfig
from lion_ports.conformance.variants import Variant
from lion_ports.reference import State

Array = NDArray[Any]
Gradients = Mapping[str, Array | None]


class Options(NamedTuple):
    """The names of the formulas for each option, in the dicts below."""

    unscale: str = "product"
    total: str = "forward"
    norm: str = "narrow"
    factor: str = "maximum"
    average: str = "two-products"


# L-024: by the reciprocal, or divided.
UNSCALES: dict[str, Callable[[Array, float], Any]] = {
    "product": lambda g, scale: g * g.dtype.type(1 / scale),
    "division": lambda g, scale: g / g.dtype.type(scale),
}

# L-025: in the order in which they come, from the last to the first, or in float64.
TOTALS = ("forward", "backward", "wide")

# L-027: of all numbers of one norm, flat.
NORMS: dict[str, Callable[[Array], Any]] = {
    "narrow": lambda g: np.sqrt(np.sum(g * g, dtype=g.dtype)),
    "wide": lambda g: g.dtype.type(np.sqrt(np.sum(np.square(g, dtype=np.float64)))),
    "hypot": lambda g: np.hypot.reduce(g, initial=0),
    "pairs": lambda g: np.sqrt(np.sum(g[::2] * g[::2]) + np.sum(g[1::2] * g[1::2])),
}
FACTORS: dict[str, Callable[[Array, Any, Any], Any]] = {
    "maximum": lambda g, norm, v: g * (v / np.maximum(norm, v)),
    "minimum": lambda g, norm, v: g * np.minimum(v / norm, g.dtype.type(1)),
    "quotient": lambda g, norm, v: g / np.maximum(norm / v, g.dtype.type(1)),
}

# L-029.
AVERAGES: dict[str, Callable[[Array, Array, float], Any]] = {
    "two-products": lambda e, x, d: e.dtype.type(d) * e + e.dtype.type(1 - d) * x,
    "lerp": lambda e, x, d: e + e.dtype.type(1 - d) * (x - e),
    "difference": lambda e, x, d: x + e.dtype.type(d) * (e - x),
    "fused": lambda e, x, d: (
        np.longdouble(e.dtype.type(d)) * e + np.longdouble(e.dtype.type(1 - d) * x)
    ).astype(e.dtype),
}


def all_options() -> Iterator[Options]:
    """Every combination."""
    return (Options(*names) for names in product(UNSCALES, TOTALS, NORMS, FACTORS, AVERAGES))


def rewrite_options(lion: Variant, options: Options) -> Variant:
    """Give a Lion these ways of doing what its options ask for."""
    held: dict[str, list[Array]] = {}

    def effective(params: Any, grads: Gradients, state: State, config: LionConfig) -> Any:
        loaded = {n: None if g is None else _loaded(g, params[n]) for n, g in grads.items()}
        plain: dict[str, Any] = {"clipvalue": None, "clipnorm": None, "global_clipnorm": None}
        if isinstance(config.loss_scale, float):  # a dynamic one is a power of two, and exact
            unscale, scale = UNSCALES[options.unscale], config.loss_scale
            with np.errstate(all="ignore"):
                loaded = {n: None if g is None else unscale(g, scale) for n, g in loaded.items()}
            plain["loss_scale"] = None
        paired = {n: None if g is None else _like(g, params[n]) for n, g in loaded.items()}
        given, state = _totalled(options.total, held, paired, state, config)
        due, state = reference.effective_gradients(params, given, state, replace(config, **plain))
        if due is None:
            return None, state
        with np.errstate(all="ignore"):
            clipped = _clipped(options, {n: _loaded(g, params[n]) for n, g in due.items()}, config)
        return {n: _like(g, params[n]) for n, g in clipped.items()}, state

    def averaging(params: Any, updated: Any, state: State, config: LionConfig) -> Any:
        if config.ema_decay is None:
            return params, state
        averages, params, state = dict(state.average), dict(params), reference.copies(state)
        for name in updated:
            whole = reference.load_parameter(params, state, name)
            e, x = (reference.as_reals(a) for a in (averages[name], whole))
            new = AVERAGES[options.average](e, x.astype(e.dtype), config.ema_decay)
            averages[name] = _like(np.asarray(new), params[name])
        if config.ema_overwrite_every and state.count % config.ema_overwrite_every == 0:
            for name in updated:
                reference.store_parameter(params, state, name, averages[name], state.count - 1)
        return params, state._replace(average=averages)

    lion.effective, lion.averaging = effective, averaging
    return lion


def _totalled(
    total: str, held: dict[str, list[Array]], grads: Gradients, state: State, config: LionConfig
) -> tuple[Gradients, State]:
    """Gradients and state from which the reference makes another sum of the micro-steps."""
    steps = config.gradient_accumulation_steps
    present = {n: g for n, g in grads.items() if g is not None}
    bad = any(not np.isfinite(g).all() for g in present.values())
    if steps == 1 or total == "forward" or (bad and config.skips):
        return grads, state
    if total == "backward" and config.dynamic:  # what is held has not been unscaled
        return grads, state
    sums = dict(state.gradient_sum)
    if total == "wide":
        for name, g in present.items():
            wide = np.result_type(g.dtype, np.float64)
            sums[name] = sums.get(name, np.zeros((), g.dtype)).astype(wide) + np.zeros(g.shape)
        return grads, state._replace(gradient_sum=sums)
    for name, g in present.items():
        held.setdefault(name, [sums[name]] if name in sums else []).append(g)
    if state.micro + 1 < steps:
        return grads, state
    turned = dict(grads)
    for name, g in present.items():
        first, *others = held[name]
        if others:
            turned[name] = first
            sums[name] = others[-1]
            for other in reversed(others[:-1]):
                sums[name] = sums[name] + other
        else:
            turned[name] = g
    held.clear()
    return turned, state._replace(gradient_sum=sums)


def _clipped(options: Options, grads: dict[str, Array], config: LionConfig) -> dict[str, Array]:
    if config.clipvalue is not None:
        bound = config.clipvalue
        return {n: np.clip(g, -g.dtype.type(bound), g.dtype.type(bound)) for n, g in grads.items()}
    if config.clipnorm is None and config.global_clipnorm is None:
        return grads
    norm, factor = NORMS[options.norm], FACTORS[options.factor]
    if config.clipnorm is not None:
        bound = config.clipnorm
        return {n: factor(g, norm(g.ravel()), g.dtype.type(bound)) for n, g in grads.items()}
    whole = norm(np.concatenate([g.ravel() for g in grads.values()]))
    bound = config.global_clipnorm or 0.0
    return {n: factor(g, g.dtype.type(whole), g.dtype.type(bound)) for n, g in grads.items()}


def _loaded(g: Array, x: Array) -> Array:
    """In the compute dtype of its parameter, a complex one as pairs."""
    return reference.as_reals(g).astype(reference.compute_dtype(x.dtype))


def _like(g: Array, x: Array) -> Array:
    """A complex array of pairs, where the parameter is complex."""
    return reference.as_complex(g) if np.iscomplexobj(x) else g
