"""Wrong options: Lions that are wrong in one way once an option of docs/spec.md is on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import LionConfig, Scalars
from lion_ports.conformance.mutations import Mutant, formula, mix
from lion_ports.conformance.variants import Variant
from lion_ports.reference import State

Array = NDArray[Any]


def _obeying(change: Callable[[LionConfig], LionConfig]) -> Callable[[], Variant]:
    """A Lion that reads its settings wrong."""
    return lambda: Variant(obey=lambda config, mask: (change(config), mask))


def _without(**settings: Any) -> Callable[[], Variant]:
    """A Lion that ignores some settings."""
    return _obeying(lambda config: replace(config, **settings))


# L-022, L-023, L-028: the direction and its decay.


def _cautious(
    scale: Callable[[int, int, float], float] = lambda n, k, cap: min(n / (k + 1), cap),
    against: Callable[..., Array] = lambda g, m: g,
    decays: Callable[[Array, Array], Any] = lambda u, x: True,
    scaled_decay: bool = False,
    apart: bool = False,
) -> Callable[[], Variant]:
    """A Lion with parts of the cautious rules exchanged."""

    def update(
        lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
    ) -> tuple[Array, Array]:
        rule = lion.config.rule
        if np.iscomplexobj(x):
            if not apart:
                return reference.lion_update(x, g, m, s, rule)
            new_x, new_m = np.empty_like(x), np.empty_like(m)
            new_x.real, new_m.real = update(lion, name, x.real, g.real, m.real, s)
            new_x.imag, new_m.imag = update(lion, name, x.imag, g.imag, m.imag, s)
            return new_x, new_m
        dtype = reference.compute_dtype(x.dtype)
        x_, g_, m_ = (a.astype(dtype) for a in (x, g, m))
        t = Scalars(*(dtype(v) for v in s[:4]))
        u = reference.sign(np.asarray(mix(x_, g_, m_, t)))
        factor: Any = 1.0
        if rule.cautious:
            agree = u * against(g_, m_) > 0
            factor = dtype(scale(u.size, int(agree.sum()), rule.cautious_cap))
            u = np.where(agree, u, 0)
        wd = np.where(decays(u, x_), t.wd, 0) if rule.cautious_decay else t.wd
        move = factor * (u + wd * x_) if scaled_decay else factor * u + wd * x_
        new_m = t.b2 * m_ + (1 - t.b2) * g_
        stored = reference.narrow(np.asarray(x_ - t.lr * move, dtype), x.dtype)
        return stored, reference.narrow(np.asarray(new_m, dtype), m.dtype)

    return lambda: Variant(update=update)


def _normalised() -> Variant:
    def direction(x: Array, g: Array, m: Array, s: Scalars) -> Any:
        c = mix(x, g, m, s)
        norm = np.sqrt(np.sum(c * c))
        return c / norm if norm else c

    return Variant(update=formula(direction))


# L-024 to L-027: what is done to the gradients.


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
    sums = {n: a.astype(params[n].dtype).astype(a.dtype) for n, a in state.gradient_sum.items()}
    return grads, config, state._replace(gradient_sum=sums)


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


def _peak_at_first(config: LionConfig) -> LionConfig:
    first: Any = config.lr
    return config if config.lr_peak is None else replace(config, lr_peak=first)


def _each_within(config: LionConfig) -> LionConfig:
    return replace(config, global_clipnorm=None, clipnorm=config.global_clipnorm or config.clipnorm)


def _all_within(config: LionConfig) -> LionConfig:
    return replace(config, clipnorm=None, global_clipnorm=config.clipnorm or config.global_clipnorm)


def _ascending_all() -> Variant:
    def update(
        lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
    ) -> tuple[Array, Array]:
        if not lion.config.maximize:
            return reference.lion_update(x, g, m, s)
        new_x, new_m = reference.lion_update(x, np.negative(g), np.negative(m), s)
        return (2 * x - new_x).astype(x.dtype), np.negative(new_m)

    return Variant(update=update)


# L-029: averages.


def _averaging(
    average: Callable[[Array, Array, Array, float], Array],
) -> Callable[[], Variant]:
    """A Lion with another average of ``e``, the new ``x`` and the old one."""

    def make() -> Variant:
        lion = Variant()

        def averaging(params: Any, updated: Any, state: State, config: LionConfig) -> Any:
            old, lion.extra["x"] = lion.extra.get("x", {}), dict(params)
            if config.ema_decay is None:
                return params, state
            averages = {
                n: np.asarray(
                    average(e, params[n], old.get(n, lion.begun[n]), config.ema_decay)
                ).astype(e.dtype)
                for n, e in state.average.items()
            }
            state = state._replace(average=averages)
            if config.ema_overwrite_every and state.count % config.ema_overwrite_every == 0:
                params = {n: averages[n].astype(x.dtype) for n, x in params.items()}
                lion.extra["x"] = dict(params)
            return params, state

        lion.averaging = averaging
        return lion

    return make


def _ema_from_zero() -> Variant:
    lion = Variant()
    begin = lion.start

    def start(params: Any, config: LionConfig, mask: Any = None, **defaults: Any) -> None:
        begin(params, config, mask, **defaults)
        lion.state = lion.state._replace(
            average={n: np.zeros_like(e) for n, e in lion.state.average.items()}
        )

    lion.start = start  # type: ignore[method-assign]
    return lion


def _not_overwriting(params: Any, updated: Any, state: State, config: LionConfig) -> Any:
    quiet = replace(config, ema_overwrite_every=None)
    return reference.averaged(params, updated, state, quiet)


OPTION_MUTANTS: dict[str, Mutant] = {
    "mask-ignored": Mutant(
        "every parameter decays, whatever the mask says",
        lambda: Variant(obey=lambda config, mask: (config, None)),
    ),
    "independent-ignored": Mutant(
        "independent decay is multiplied by the learning rate",
        _without(decay="coupled", lr_peak=None),
    ),
    "independent-of-first-lr": Mutant(
        "independent decay divides by the first learning rate, not by lr_peak",
        _obeying(_peak_at_first),
    ),
    "decay-schedule-late": Mutant(
        "a schedule of the weight decay is evaluated one update too late",
        lambda: Variant(decay_count=lambda seen, done: done + 1),
    ),
    "schedule-counts-micro-steps": Mutant(
        "a schedule is evaluated at the count of micro-steps",
        lambda: Variant(decay_count=lambda seen, done: seen),
    ),
    "maximize-ignored": Mutant("maximize is ignored", _without(maximize=False)),
    "maximize-grows": Mutant("maximize turns the decay into growth", _ascending_all),
    "skip-ignored": Mutant(
        "nonfinite='skip' is ignored",
        _obeying(
            lambda config: (
                replace(config, nonfinite="propagate") if config.nonfinite == "skip" else config
            )
        ),
    ),
    "raise-ignored": Mutant(
        "nonfinite='raise' is ignored",
        _obeying(
            lambda config: (
                replace(config, nonfinite="propagate") if config.nonfinite == "raise" else config
            )
        ),
    ),
    "skip-one-parameter": Mutant(
        "a gradient that is not finite leaves out its own parameter alone",
        _effective(_skipping_one),
    ),
    "cautious-ignored": Mutant("cautious is ignored", _without(cautious=False, cautious_cap=10.0)),
    "cautious-unscaled": Mutant(
        "a cautious update is not enlarged", _cautious(scale=lambda n, k, cap: 1.0)
    ),
    "cautious-mean": Mutant(
        "a cautious update is enlarged by n/k in place of n/(k+1)",
        _cautious(scale=lambda n, k, cap: min(n / max(k, 1), cap)),
    ),
    "cautious-uncapped": Mutant(
        "a cautious update is enlarged without bound",
        _cautious(scale=lambda n, k, cap: n / (k + 1)),
    ),
    "cautious-cap-ignored": Mutant(
        "the cap of a cautious update is 10, whatever was asked",
        _cautious(scale=lambda n, k, cap: min(n / (k + 1), 10.0)),
    ),
    "cautious-by-momentum": Mutant(
        "a cautious update looks at the momentum in place of the gradient",
        _cautious(against=lambda g, m: m),
    ),
    "cautious-decay-scaled": Mutant(
        "a cautious update enlarges its decay as well", _cautious(scaled_decay=True)
    ),
    "cautious-parts-apart": Mutant(
        "a cautious update counts real and imaginary parts apart", _cautious(apart=True)
    ),
    "cautious-decay-ignored": Mutant("cautious_decay is ignored", _without(cautious_decay=False)),
    "cautious-decay-undecided": Mutant(
        "a cautious decay acts where there is no direction",
        _cautious(decays=lambda u, x: u * x >= 0),
    ),
    "cautious-decay-reversed": Mutant(
        "a cautious decay acts where the direction pulls away from zero",
        _cautious(decays=lambda u, x: u * x < 0),
    ),
    "nonlinearity-ignored": Mutant(
        "nonlinearity is ignored", _without(nonlinearity="sign", steepness=1.0)
    ),
    "steepness-ignored": Mutant("steepness is ignored", _without(steepness=1.0)),
    "l2-normalised": Mutant(
        "the direction is divided by its norm, also inside of the unit ball", _normalised
    ),
    "loss-scale-ignored": Mutant(
        "gradients are not unscaled",
        _obeying(
            lambda config: replace(
                config,
                loss_scale=None,
                loss_scale_growth_interval=2000,
                nonfinite="skip" if config.dynamic else config.nonfinite,
            )
        ),
    ),
    "loss-scale-twice": Mutant("gradients are unscaled twice", _effective(_unscaled_twice)),
    "loss-scale-in-float16": Mutant(
        "gradients are unscaled in their own dtype", _effective(_unscaled_narrowly)
    ),
    "loss-scale-static": Mutant(
        "a dynamic loss scale stays where it began", _effective(_static_scale)
    ),
    "loss-scale-unbounded": Mutant("a dynamic loss scale grows beyond 2^24", _unbounded_scale),
    "accumulate-ignored": Mutant(
        "every micro-step makes an update", _without(gradient_accumulation_steps=1)
    ),
    "accumulate-sum": Mutant(
        "an update is made with the sum of the gradients, not with their mean", _effective(_summed)
    ),
    "accumulate-last": Mutant(
        "an update is made with the last of the gradients", _effective(_last)
    ),
    "accumulate-in-parameter-dtype": Mutant(
        "gradients are added up in the parameter's dtype", _effective(_narrow_sums)
    ),
    "clip-ignored": Mutant(
        "gradients are not clipped", _without(clipvalue=None, clipnorm=None, global_clipnorm=None)
    ),
    "clip-before-mean": Mutant(
        "the gradients of micro-steps are clipped, not their mean", _effective(_clipped_first)
    ),
    "clip-normalises": Mutant(
        "smaller norms are brought up to the bound", _effective(_normalising)
    ),
    "clipnorm-global": Mutant(
        "clipnorm bounds the norm of all gradients together", _obeying(_all_within)
    ),
    "global-clipnorm-each": Mutant(
        "global_clipnorm bounds the norm of each gradient", _obeying(_each_within)
    ),
    "ema-ignored": Mutant(
        "the average never overwrites the parameters",
        lambda: Variant(averaging=_not_overwriting),
    ),
    "ema-from-zero": Mutant("the average begins at zero", _ema_from_zero),
    "ema-late": Mutant(
        "the average follows the parameters before their update",
        _averaging(lambda e, x, old, d: d * e + (1 - d) * old.astype(e.dtype)),
    ),
    "ema-swapped": Mutant(
        "the average gives its decay to the new parameter",
        _averaging(lambda e, x, old, d: (1 - d) * e + d * x.astype(e.dtype)),
    ),
    "ema-in-parameter-dtype": Mutant(
        "the average is kept in the parameter's dtype",
        _averaging(lambda e, x, old, d: (d * e + (1 - d) * x.astype(e.dtype)).astype(x.dtype)),
    ),
}
"""Mutant by name."""
