"""What is done to the gradients before the update: L-024, L-019, L-025, L-026, L-027.

What differs from call to call is selected by ``mx.where``: a compiled step has one trace.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import mlx.core as mx

from lion_ports.config import LOSS_SCALE_MAX, LOSS_SCALE_MIN, LionConfig
from lion_ports.errors import ConfigError, NonFiniteError
from lion_ports.mlx.arithmetic import as_reals, as_stored, compute_dtype, select, total, widen
from lion_ports.mlx.trees import Slots

Arrays = Mapping[str, mx.array]


class Due(NamedTuple):
    """What an update is made with.

    Attributes:
        gradients: by the path of their parameter.
        made: whether the update is made at all, a boolean scalar; None: it is.
        seen: which parameters had a gradient at all, where only the state knows (L-025).
    """

    gradients: dict[str, mx.array]
    made: mx.array | None
    seen: Arrays

    def moves(self, path: str) -> mx.array | None:
        """Whether the parameter at this path is updated; None: it is."""
        if self.made is None or not self.seen:
            return self.made
        return self.made & self.seen[path]


def effective_gradients(
    params: Arrays,
    grads: Arrays,
    slots: Mapping[str, Slots],
    counters: Slots,
    config: LionConfig,
) -> Due:
    """The gradients that the update of this step is made with.

    Args:
        params: parameters by path.
        grads: gradients by path as they were given, without those that are missing (L-003).
        slots: the state of each parameter, whose sums are brought forward.
        counters: the scalars of the state, which are brought forward too.
        config: settings.

    Raises:
        ConfigError: under ``nonfinite="raise"``, inside ``mx.compile``.
        NonFiniteError: under ``nonfinite="raise"``, if a gradient is not finite (L-019).
    """
    finite = _all_finite(grads, config)
    scale = counters["loss_scale"] if config.dynamic else config.loss_scale
    if finite is not None:
        if config.dynamic:
            counters.update(rescaled(counters, finite, config.loss_scale_growth_interval))
        counters["skipped"] = mx.where(finite, counters["skipped"], counters["skipped"] + 1)
    if scale is None and config.gradient_accumulation_steps == 1 and not config.clips:
        return Due(dict(grads), finite, {})  # the update itself loads them, in one kernel

    due = {n: _loaded(g, params[n]) for n, g in grads.items()}
    if scale is not None:
        due = {n: unscaled(g, scale) for n, g in due.items()}
    made, seen = finite, dict[str, mx.array]()
    if config.gradient_accumulation_steps > 1:
        due, made, seen = accumulated(
            due, slots, counters, config.gradient_accumulation_steps, finite
        )
    due = clipped(due, config)
    return Due({n: as_stored(g, params[n]) for n, g in due.items()}, made, seen)


def rescaled(counters: Arrays, finite: mx.array, interval: int) -> Slots:
    """The dynamic loss scale of the next step, and the finite steps it has seen (L-024)."""
    scale, good = counters["loss_scale"], counters["good_steps"] + 1
    grows = finite & (good >= interval)
    grown = mx.minimum(scale * 2, LOSS_SCALE_MAX)
    halved = mx.maximum(scale / 2, LOSS_SCALE_MIN)
    return {
        "loss_scale": mx.where(finite, mx.where(grows, grown, scale), halved),
        "good_steps": mx.where(finite & ~grows, good, 0).astype(good.dtype),
    }


def unscaled(g: mx.array, scale: Any) -> mx.array:
    """The gradient of the loss itself (L-024)."""
    # A dynamic scale is a float32: its inverse is the same, formed in float64 or not.
    inverse = 1 / (scale.astype(g.dtype) if isinstance(scale, mx.array) else scale)
    return g * mx.array(inverse, g.dtype)


def accumulated(
    grads: Arrays,
    slots: Mapping[str, Slots],
    counters: Slots,
    steps: int,
    finite: mx.array | None,
) -> tuple[dict[str, mx.array], mx.array, dict[str, mx.array]]:
    """The means of what is summed, whether they are due, and which had a gradient (L-025)."""
    micro = counters["micro"] + 1
    last = micro >= steps
    made = last if finite is None else last & finite
    counters["micro"] = select(finite, mx.where(last, 0, micro), counters["micro"])
    means, seen = {}, {}
    for path, slot in slots.items():
        summed, count = as_reals(slot["grad_sum"]), slot["seen"]
        if path in grads:
            summed = select(finite, summed + grads[path], summed)
            count = select(finite, count + 1, count)
        means[path] = summed * mx.array(1 / steps, summed.dtype)
        seen[path] = count > 0
        slot["grad_sum"] = as_stored(mx.where(made, 0, summed), slot["grad_sum"])
        slot["seen"] = mx.where(made, 0, count)
    return means, made, seen


def clipped(grads: Arrays, config: LionConfig) -> dict[str, mx.array]:
    """The gradients within their bound (L-026, L-027)."""
    if config.clipvalue is not None:
        return {n: clipped_value(g, config.clipvalue) for n, g in grads.items()}
    if config.clipnorm is not None:
        factors = {n: clip_factor(squared_norm(g), config.clipnorm) for n, g in grads.items()}
    elif config.global_clipnorm is not None and grads:
        widest = mx.float64 if any(g.dtype == mx.float64 for g in grads.values()) else mx.float32
        squares = mx.stack([squared_norm(g).astype(widest) for g in grads.values()])
        factors = dict.fromkeys(grads, clip_factor(total(squares), config.global_clipnorm))
    else:
        return dict(grads)
    return {n: g * factors[n].astype(g.dtype) for n, g in grads.items()}


def clipped_value(g: mx.array, bound: float) -> mx.array:
    """Each element within ``[-bound, bound]``; NaN stays NaN (L-026)."""
    v = mx.array(bound, g.dtype)
    return mx.minimum(mx.maximum(g, -v), v)


def squared_norm(g: mx.array) -> mx.array:
    """The sum of squares, in the compute dtype (L-027)."""
    return total(g * g)


def clip_factor(squared: mx.array, bound: float) -> mx.array:
    """What brings a norm within ``bound``; 1 where it is (L-027)."""
    v = mx.array(bound, squared.dtype)
    return v / mx.maximum(mx.sqrt(squared), v)


def _all_finite(grads: Arrays, config: LionConfig) -> mx.array | None:
    """Whether all gradients are finite; None where it does not matter (L-019)."""
    if config.nonfinite == "propagate" and not config.dynamic:
        return None
    finite = {path: mx.isfinite(g).all() for path, g in grads.items()}
    if config.skips:
        return mx.stack([mx.array(True), *finite.values()]).all()
    if bad := [path for path, ok in finite.items() if not _value(ok)]:
        raise NonFiniteError(bad)
    return None


def _value(finite: mx.array) -> bool:
    try:
        return bool(finite.item())
    except ValueError:
        raise ConfigError(
            "nonfinite='raise' was given inside mx.compile, where no value can be looked at; "
            "use 'skip', or leave the update out of the compiled function"
        ) from None


def _loaded(g: mx.array, x: mx.array) -> mx.array:
    """In the compute dtype of its parameter (L-005), a complex one as pairs."""
    return widen(as_reals(g), compute_dtype(x.dtype))
