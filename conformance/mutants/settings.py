"""Settings that are ignored, or taken for something else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lion_ports import reference
from lion_ports.config import LionConfig, Scalars
from lion_ports.conformance.mutants.making import Array, Arrays, Mutant, obeying, updating
from lion_ports.conformance.variants import Variant


def _without(**settings: Any) -> Callable[[], Variant]:
    """A Lion that ignores some settings."""
    return obeying(lambda config: replace(config, **settings))


def _propagating(policy: str) -> Callable[[], Variant]:
    """A Lion that ignores one of the policies for gradients that are not finite."""
    return obeying(
        lambda config: (
            replace(config, nonfinite="propagate") if config.nonfinite == policy else config
        )
    )


def _peak_at_first(config: LionConfig) -> LionConfig:
    first: Any = config.lr
    return config if config.lr_peak is None else replace(config, lr_peak=first)


def _each_within(config: LionConfig) -> LionConfig:
    return replace(config, global_clipnorm=None, clipnorm=config.global_clipnorm or config.clipnorm)


def _all_within(config: LionConfig) -> LionConfig:
    return replace(config, clipnorm=None, global_clipnorm=config.clipnorm or config.global_clipnorm)


def _growing(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """Under maximize the whole move is negated, its decay included."""
    if not lion.config.maximize:
        return reference.lion_update(x, g, m, s)
    new_x, new_m = reference.lion_update(x, np.negative(g), np.negative(m), s)
    return (2 * x - new_x).astype(x.dtype), np.negative(new_m)


MUTANTS: dict[str, Mutant] = {
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
        obeying(_peak_at_first),
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
    "maximize-grows": Mutant("maximize turns the decay into growth", updating(_growing)),
    "skip-ignored": Mutant("nonfinite='skip' is ignored", _propagating("skip")),
    "raise-ignored": Mutant("nonfinite='raise' is ignored", _propagating("raise")),
    "cautious-ignored": Mutant("cautious is ignored", _without(cautious=False, cautious_cap=10.0)),
    "cautious-decay-ignored": Mutant("cautious_decay is ignored", _without(cautious_decay=False)),
    "nonlinearity-ignored": Mutant(
        "nonlinearity is ignored", _without(nonlinearity="sign", steepness=1.0)
    ),
    "steepness-ignored": Mutant("steepness is ignored", _without(steepness=1.0)),
    "loss-scale-ignored": Mutant(
        "gradients are not unscaled",
        obeying(
            lambda config: replace(
                config,
                loss_scale=None,
                loss_scale_growth_interval=2000,
                nonfinite="skip" if config.dynamic else config.nonfinite,
            )
        ),
    ),
    "accumulate-ignored": Mutant(
        "every micro-step makes an update", _without(gradient_accumulation_steps=1)
    ),
    "clip-ignored": Mutant(
        "gradients are not clipped", _without(clipvalue=None, clipnorm=None, global_clipnorm=None)
    ),
    "clipnorm-global": Mutant(
        "clipnorm bounds the norm of all gradients together", obeying(_all_within)
    ),
    "global-clipnorm-each": Mutant(
        "global_clipnorm bounds the norm of each gradient", obeying(_each_within)
    ),
}
"""Mutant by name."""
