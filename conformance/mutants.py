"""Wrong Lions, each wrong in one way that a real implementation has been, or could be.

The suite must fail every one of them (``tests/conformance``), and names the one that explains a
failure it has seen (``lion_ports.conformance.diagnosis``).
"""

from collections.abc import Callable
from dataclasses import replace

import ml_dtypes
import numpy as np

from lion_ports import reference
from lion_ports.conformance import mutations as wrong
from lion_ports.conformance.mutations import Mutant
from lion_ports.conformance.option_mutants import OPTION_MUTANTS
from lion_ports.conformance.variants import Update, Variant


def _update(update: Update) -> Callable[[], Variant]:
    return lambda: Variant(update=update)


def _bf16(value: float) -> float:
    return float(ml_dtypes.bfloat16(value))


MUTANTS: dict[str, Mutant] = {
    "betas-swapped": Mutant(
        "b2 makes the direction and b1 the momentum",
        _update(wrong.with_inputs(lambda lion, name, x, g, m, s: (x, g, m, wrong.swapped(s)))),
    ),
    "momentum-first": Mutant(
        "the direction uses the new momentum",
        _update(
            wrong.formula(
                lambda x, g, m, s: wrong.right_direction(x, g, wrong.right_momentum(x, g, m, s), s)
            )
        ),
    ),
    "sign-of-gradient": Mutant(
        "the direction is the sign of the gradient alone",
        _update(wrong.formula(lambda x, g, m, s: reference.sign(g))),
    ),
    "sign-of-momentum": Mutant(
        "the direction is the sign of the new momentum",
        _update(
            wrong.formula(
                lambda x, g, m, s: reference.sign(np.asarray(wrong.right_momentum(x, g, m, s)))
            )
        ),
    ),
    "nesterov-twice": Mutant(
        "the gradient is mixed into the direction twice",
        _update(
            wrong.formula(lambda x, g, m, s: wrong.right_direction(x, g, wrong.mix(x, g, m, s), s))
        ),
    ),
    "sign-zero-plus": Mutant(
        "sign(0) is +1",
        _update(wrong.formula(lambda x, g, m, s: np.where(wrong.mix(x, g, m, s) >= 0, 1, -1))),
    ),
    "sign-zero-minus": Mutant(
        "sign(0) is -1",
        _update(wrong.formula(lambda x, g, m, s: np.where(wrong.mix(x, g, m, s) > 0, 1, -1))),
    ),
    "sign-copysign": Mutant(
        "the sign of a zero is that of its sign bit",
        _update(
            wrong.formula(lambda x, g, m, s: np.copysign(m.dtype.type(1), wrong.mix(x, g, m, s)))
        ),
    ),
    "nan-swallowed": Mutant(
        "sign(NaN) is 0, so that the parameter freezes in silence",
        _update(
            wrong.formula(
                lambda x, g, m, s: np.nan_to_num(wrong.right_direction(x, g, m, s), nan=0.0)
            )
        ),
    ),
    "clipped": Mutant(
        "the direction is clipped to [-1, 1] instead of being its sign",
        _update(wrong.formula(lambda x, g, m, s: np.clip(wrong.mix(x, g, m, s), -1, 1))),
    ),
    "epsilon": Mutant(
        "the direction is c / (|c| + 1e-6)",
        _update(
            wrong.formula(
                lambda x, g, m, s: (
                    wrong.mix(x, g, m, s) / (np.abs(wrong.mix(x, g, m, s)) + m.dtype.type(1e-6))
                )
            )
        ),
    ),
    "bias-correction": Mutant(
        "the momentum is divided by 1 - b2^t, as Adam does", _update(wrong.bias_correction)
    ),
    "complement-missing": Mutant(
        "the new momentum is b2*m + g",
        _update(wrong.formula(momentum=lambda x, g, m, s: s.b2 * m + g)),
    ),
    "direction-kept": Mutant(
        "the new momentum is the direction before its sign",
        _update(wrong.formula(momentum=wrong.mix)),
    ),
    "momentum-from-gradient": Mutant(
        "the momentum starts at the first gradient",
        _update(wrong.with_inputs(wrong.first_gradient)),
    ),
    "momentum-not-zero": Mutant(
        "the momentum starts a little above zero",
        lambda: Variant(begin=lambda m: m + np.array(1e-3).astype(m.dtype)),
    ),
    "momentum-reset-by-zero": Mutant(
        "a zero gradient clears the momentum", _update(wrong.reset_by_zero)
    ),
    "momentum-shared": Mutant(
        "parameters of one shape share a momentum",
        lambda: Variant(slot=lambda name, x: f"{x.dtype}{x.shape}"),
    ),
    "momentum-like-gradient": Mutant(
        "the momentum takes the dtype of the gradient", _update(wrong.gradient_dtype)
    ),
    "momentum-in-parameter-dtype": Mutant(
        "momentum_dtype is ignored",
        lambda: Variant(obey=lambda config, mask: (replace(config, momentum_dtype=None), mask)),
    ),
    "decay-missing": Mutant(
        "weight decay is ignored", _update(wrong.unless(lambda x, g: True, wrong.without_decay))
    ),
    "decay-coupled": Mutant(
        "weight decay enters the gradient", _update(wrong.with_inputs(wrong.decayed_gradient))
    ),
    "decay-after": Mutant(
        "weight decay acts on the parameter after its step",
        _update(
            wrong.formula(moved=lambda x, g, m, s, u: (x - s.lr * u) - s.lr * s.wd * (x - s.lr * u))
        ),
    ),
    "decay-without-lr": Mutant(
        "weight decay is not multiplied by the learning rate",
        _update(wrong.formula(moved=lambda x, g, m, s, u: x - s.wd * x - s.lr * u)),
    ),
    "decay-lr-twice": Mutant(
        "weight decay is multiplied by the learning rate twice",
        _update(wrong.formula(moved=lambda x, g, m, s, u: x - s.lr * u - s.lr * s.lr * s.wd * x)),
    ),
    "decay-absolute": Mutant(
        "coupled weight decay does not follow the learning rate",
        _update(wrong.with_inputs(wrong.absolute_decay)),
    ),
    "decay-skips-vectors": Mutant(
        "parameters of one dimension do not decay",
        _update(wrong.unless(lambda x, g: x.ndim == 1, wrong.without_decay)),
    ),
    "decay-skips-zero-gradient": Mutant(
        "a zero gradient switches the decay off",
        _update(wrong.unless(lambda x, g: not np.any(g), wrong.without_decay)),
    ),
    "decay-by-default": Mutant(
        "weight decay is 1e-3 unless it is set",
        _update(
            wrong.with_inputs(lambda lion, name, x, g, m, s: (x, g, m, s._replace(wd=s.wd or 1e-3)))
        ),
    ),
    "betas-of-adam": Mutant(
        "b2 is 0.999 where it should be 0.99",
        _update(
            wrong.with_inputs(
                lambda lion, name, x, g, m, s: (
                    x,
                    g,
                    m,
                    s._replace(b2=0.999 if s.b2 == 0.99 else s.b2),
                )
            )
        ),
    ),
    "lr-stale": Mutant(
        "the learning rate of the step before is used",
        lambda: Variant(rate=lambda rates: rates[-2] if len(rates) > 1 else rates[-1]),
    ),
    "lr-bfloat16": Mutant(
        "the learning rate is rounded to bfloat16",
        lambda: Variant(rate=lambda rates: _bf16(rates[-1])),
    ),
    "lr-zero-freezes": Mutant(
        "at lr = 0 the momentum does not move", _update(wrong.frozen_at_zero)
    ),
    "per-operation-rounding": Mutant(
        "every operation is rounded to the parameter's dtype", _update(wrong.rounding_everything)
    ),
    "rounded-between": Mutant(
        "the parameter is rounded after its decay and again after its step, the momentum likewise",
        _update(wrong.rounding_between),
    ),
    "complex-phase": Mutant(
        "the sign of a complex number is its phase, not that of its parts",
        _update(wrong.complex_phase),
    ),
    "computed-in-float32": Mutant(
        "float64 parameters are updated in float32", _update(wrong.in_float32)
    ),
    "step-added": Mutant(
        "the step is added where it should be subtracted",
        _update(wrong.formula(lambda x, g, m, s: -wrong.right_direction(x, g, m, s))),
    ),
    "maximize": Mutant(
        "it ascends: the gradient is negated",
        _update(wrong.with_inputs(lambda lion, name, x, g, m, s: (x, np.negative(g), m, s))),
    ),
    "moved-without-gradient": Mutant(
        "a missing gradient counts as zero", lambda: Variant(missing=np.zeros_like)
    ),
    "gradient-overwritten": Mutant("the gradient is written to", _update(wrong.overwriting)),
    "first-step-skipped": Mutant("the first step moves no parameter", _update(wrong.skipped_first)),
    "stepping-twice": Mutant("the first step is made twice", _update(wrong.twice)),
    "last-block-missing": Mutant(
        "the elements after the last whole block of eight are not written",
        _update(wrong.last_block),
    ),
    "memory-order": Mutant(
        "strided gradients are read in the order of their memory",
        _update(wrong.with_inputs(wrong.memory_order)),
    ),
    "reset-on-load": Mutant(
        "the momentum is zero after loading a state",
        lambda: Variant(restore=lambda x, m: np.zeros_like(m)),
    ),
    **OPTION_MUTANTS,
    "no-op": Mutant("nothing moves", _update(lambda lion, name, x, g, m, s: (x, m))),
    "signsgd": Mutant("it is signSGD", _update(wrong.with_inputs(wrong.signsgd))),
    "adamw": Mutant("it is AdamW", _update(wrong.adamw)),
}
"""Mutant by name. The last three are the controls: other optimizers altogether."""
