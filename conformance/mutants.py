"""Wrong Lions, each wrong in one way that a real implementation has been, or could be.

The suite must fail every one of them (``tests/conformance``), and names the one that explains a
failure it has seen (``lion_ports.conformance.diagnosis``).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import Scalars
from lion_ports.conformance.variants import Update, Variant, right_update

Array = NDArray[Any]


class Mutant(NamedTuple):
    """A wrong Lion: what it does in place of the right thing, and a fresh one of it."""

    sentence: str
    make: Callable[[], Variant]


def _formula(
    direction: Callable[..., Any] | None = None,
    moved: Callable[..., Any] | None = None,
    momentum: Callable[..., Any] | None = None,
) -> Update:
    """An update in the compute dtype with its direction, new parameter or new momentum replaced.

    The replacements see ``x, g, m`` in the compute dtype, the scalars as ``s`` and, for
    ``moved``, the direction ``u``.
    """

    def update(
        lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
    ) -> tuple[Array, Array]:
        if np.iscomplexobj(x):
            return right_update(lion, name, x, g, m, s)
        dtype = reference.compute_dtype(x.dtype)
        x_, g_, m_ = (a.astype(dtype) for a in (x, g, m))
        s = Scalars(*(dtype(v) for v in s))
        u = (direction or _direction)(x_, g_, m_, s)
        new_x = (moved or _moved)(x_, g_, m_, s, u)
        new_m = (momentum or _momentum)(x_, g_, m_, s)
        return reference.narrow(np.asarray(new_x), x.dtype), reference.narrow(
            np.asarray(new_m), m.dtype
        )

    return update


def _c(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    return s.b1 * m + (1 - s.b1) * g


def _direction(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    return reference.sign(np.asarray(_c(x, g, m, s)))


def _moved(x: Array, g: Array, m: Array, s: Scalars, u: Array) -> Any:
    return x - s.lr * (u + s.wd * x) if s.wd else x - s.lr * u


def _momentum(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    return s.b2 * m + (1 - s.b2) * g


def _swapped(s: Scalars) -> Scalars:
    return s._replace(b1=s.b2, b2=s.b1)


def _with(change: Callable[..., tuple[Array, Array, Array, Scalars]]) -> Update:
    """The right update of changed inputs; ``change(lion, name, x, g, m, s)``."""

    def update(lion: Variant, name: str, *args: Any) -> tuple[Array, Array]:
        return right_update(lion, name, *change(lion, name, *args))

    return update


def _decayed_gradient(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    dtype = x.dtype if np.iscomplexobj(x) else reference.compute_dtype(x.dtype)
    return x, g.astype(dtype) + x.astype(dtype) * dtype_scalar(dtype, s.wd), m, s._replace(wd=0.0)


def dtype_scalar(dtype: Any, value: float) -> Any:
    """A scalar in the dtype of an array, so that NumPy promotes nothing."""
    return np.dtype(dtype).type(value)


def _unless(condition: Callable[..., bool], change: Callable[[Scalars], Scalars]) -> Update:
    def update(
        lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
    ) -> tuple[Array, Array]:
        return right_update(lion, name, x, g, m, change(s) if condition(x, g) else s)

    return update


def _without_decay(s: Scalars) -> Scalars:
    return s._replace(wd=0.0)


def _absolute_decay(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    wd = s.wd * lion.rates[0] / s.lr if s.lr else 0.0
    return x, g, m, s._replace(wd=wd)


def _bias_correction(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    t = len(lion.rates) - 1
    factor = 1 / (1 - s.b2**t) if t else 1.0
    corrected = (m * dtype_scalar(m.dtype, factor)).astype(m.dtype)
    new_x, _ = right_update(lion, name, x, g, corrected, s)
    return new_x, right_update(lion, name, x, g, m, s)[1]


def _rounding_everything(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """Every operation in the dtype of the parameter, as eager code without widening does."""
    if np.iscomplexobj(x):
        return right_update(lion, name, x, g, m, s)
    kind = x.dtype.type
    g, m_ = g.astype(x.dtype), m.astype(x.dtype)
    c = kind(s.b1) * m_ + kind(1 - s.b1) * g
    decayed = x * kind(1 - s.lr * s.wd)
    new_m = kind(s.b2) * m_ + kind(1 - s.b2) * g
    new_x = decayed - kind(s.lr) * reference.sign(np.asarray(c))
    return np.asarray(new_x, x.dtype), np.asarray(new_m).astype(m.dtype)


def _rounding_between(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """In-place operations, each in float32 and each rounded where it is stored."""
    if np.iscomplexobj(x):
        return right_update(lion, name, x, g, m, s)
    dtype = reference.compute_dtype(x.dtype)

    def stored(array: Any, like: Array) -> Array:
        return np.asarray(array).astype(like.dtype).astype(dtype)

    s = Scalars(*(dtype(v) for v in s))
    x_, g_, m_ = (a.astype(dtype) for a in (x, g, m))
    decayed = stored(x_ * (1 - s.lr * s.wd), x)
    c = stored(s.b1 * m_, m) + (1 - s.b1) * g_
    new_m = stored(s.b2 * m_, m) + (1 - s.b2) * g_
    new_x = decayed - s.lr * reference.sign(stored(c, m))
    return np.asarray(new_x).astype(x.dtype), np.asarray(new_m).astype(m.dtype)


def _complex_phase(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """NumPy's, JAX's and torch's sign of a complex number is c/|c|."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    if np.iscomplexobj(x):
        c = s.b1 * m + (1 - s.b1) * g
        u = np.divide(c, np.abs(c), out=np.zeros_like(c), where=c != 0)
        new_x = (x - s.lr * (u + s.wd * x)).astype(x.dtype)
    return new_x, new_m


def _in_float32(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    if x.dtype != np.float64:
        return right_update(lion, name, x, g, m, s)
    x_, g_, m_ = (a.astype(np.float32) for a in (x, g, m))
    new_x, new_m = right_update(lion, name, x_, g_, m_, s)
    return new_x.astype(x.dtype), new_m.astype(m.dtype)


def _last_block(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """Only whole blocks of eight elements are written."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    whole = np.arange(x.size).reshape(x.shape) < x.size // 8 * 8
    return np.where(whole, new_x, x), np.where(whole, new_m, m)


def _memory_order(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """The gradient is read in the order of its memory, whatever its strides."""
    return x, g.ravel(order="K").reshape(x.shape), m, s


def _first_gradient(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    first = name not in lion.extra
    lion.extra[name] = True
    return x, g, g.astype(m.dtype) if first else m, s


def _skipped_first(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    new_x, new_m = right_update(lion, name, x, g, m, s)
    return (x if len(lion.rates) == 1 else new_x), new_m


def _twice(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """An in-place kernel that its autotuner ran once more on the first step."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    return right_update(lion, name, new_x, g, new_m, s) if len(lion.rates) == 1 else (new_x, new_m)


def _frozen_at_zero(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    return right_update(lion, name, x, g, m, s) if s.lr else (x, m)


def _overwriting(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    result = right_update(lion, name, x, g, m, s)
    g *= dtype_scalar(g.dtype, 0.5)
    return result


def _reset_by_zero(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    new_x, new_m = right_update(lion, name, x, g, m, s)
    return new_x, new_m if np.any(g) else np.zeros_like(m)


def _gradient_dtype(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    new_x, new_m = right_update(lion, name, x, g, m.astype(g.dtype), s)
    return new_x, new_m.astype(g.dtype)


def _adamw(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """AdamW with its usual epsilon, and Lion's betas and decay."""
    if np.iscomplexobj(x):
        return x, m
    t = len(lion.rates)
    wide, m_ = g.astype(np.float64), m.astype(np.float64)
    v = s.b2 * lion.extra.get(name, 0.0) + (1 - s.b2) * wide * wide
    m_ = s.b1 * m_ + (1 - s.b1) * wide
    lion.extra[name] = v
    u = (m_ / (1 - s.b1**t)) / (np.sqrt(v / (1 - s.b2**t)) + 1e-8)
    return (x - s.lr * (u + s.wd * x.astype(np.float64))).astype(x.dtype), m_.astype(m.dtype)


def _signsgd(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    return x, g, np.zeros_like(m), s._replace(b1=0.0)


def _update(update: Update) -> Callable[[], Variant]:
    return lambda: Variant(update=update)


def _bf16(value: float) -> float:
    return float(ml_dtypes.bfloat16(value))


MUTANTS: dict[str, Mutant] = {
    "betas-swapped": Mutant(
        "b2 makes the direction and b1 the momentum",
        _update(_with(lambda lion, name, x, g, m, s: (x, g, m, _swapped(s)))),
    ),
    "momentum-first": Mutant(
        "the direction uses the new momentum",
        _update(_formula(lambda x, g, m, s: _direction(x, g, _momentum(x, g, m, s), s))),
    ),
    "sign-of-gradient": Mutant(
        "the direction is the sign of the gradient alone",
        _update(_formula(lambda x, g, m, s: reference.sign(g))),
    ),
    "sign-of-momentum": Mutant(
        "the direction is the sign of the new momentum",
        _update(_formula(lambda x, g, m, s: reference.sign(np.asarray(_momentum(x, g, m, s))))),
    ),
    "nesterov-twice": Mutant(
        "the gradient is mixed into the direction twice",
        _update(_formula(lambda x, g, m, s: _direction(x, g, _c(x, g, m, s), s))),
    ),
    "sign-zero-plus": Mutant(
        "sign(0) is +1", _update(_formula(lambda x, g, m, s: np.where(_c(x, g, m, s) >= 0, 1, -1)))
    ),
    "sign-zero-minus": Mutant(
        "sign(0) is -1", _update(_formula(lambda x, g, m, s: np.where(_c(x, g, m, s) > 0, 1, -1)))
    ),
    "sign-copysign": Mutant(
        "the sign of a zero is that of its sign bit",
        _update(_formula(lambda x, g, m, s: np.copysign(m.dtype.type(1), _c(x, g, m, s)))),
    ),
    "nan-swallowed": Mutant(
        "sign(NaN) is 0, so that the parameter freezes in silence",
        _update(_formula(lambda x, g, m, s: np.nan_to_num(_direction(x, g, m, s), nan=0.0))),
    ),
    "clipped": Mutant(
        "the direction is clipped to [-1, 1] instead of being its sign",
        _update(_formula(lambda x, g, m, s: np.clip(_c(x, g, m, s), -1, 1))),
    ),
    "epsilon": Mutant(
        "the direction is c / (|c| + 1e-6)",
        _update(
            _formula(
                lambda x, g, m, s: _c(x, g, m, s) / (np.abs(_c(x, g, m, s)) + m.dtype.type(1e-6))
            )
        ),
    ),
    "bias-correction": Mutant(
        "the momentum is divided by 1 - b2^t, as Adam does", _update(_bias_correction)
    ),
    "complement-missing": Mutant(
        "the new momentum is b2*m + g", _update(_formula(momentum=lambda x, g, m, s: s.b2 * m + g))
    ),
    "direction-kept": Mutant(
        "the new momentum is the direction before its sign", _update(_formula(momentum=_c))
    ),
    "momentum-from-gradient": Mutant(
        "the momentum starts at the first gradient", _update(_with(_first_gradient))
    ),
    "momentum-reset-by-zero": Mutant(
        "a zero gradient clears the momentum", _update(_reset_by_zero)
    ),
    "momentum-shared": Mutant(
        "parameters of one shape share a momentum",
        lambda: Variant(slot=lambda name, x: f"{x.dtype}{x.shape}"),
    ),
    "momentum-like-gradient": Mutant(
        "the momentum takes the dtype of the gradient", _update(_gradient_dtype)
    ),
    "momentum-in-parameter-dtype": Mutant(
        "momentum_dtype is ignored",
        lambda: Variant(obey=lambda config, mask: (replace(config, momentum_dtype=None), mask)),
    ),
    "decay-missing": Mutant(
        "weight decay is ignored", _update(_unless(lambda x, g: True, _without_decay))
    ),
    "decay-coupled": Mutant("weight decay enters the gradient", _update(_with(_decayed_gradient))),
    "decay-after": Mutant(
        "weight decay acts on the parameter after its step",
        _update(
            _formula(moved=lambda x, g, m, s, u: (x - s.lr * u) - s.lr * s.wd * (x - s.lr * u))
        ),
    ),
    "decay-without-lr": Mutant(
        "weight decay is not multiplied by the learning rate",
        _update(_formula(moved=lambda x, g, m, s, u: x - s.wd * x - s.lr * u)),
    ),
    "decay-lr-twice": Mutant(
        "weight decay is multiplied by the learning rate twice",
        _update(_formula(moved=lambda x, g, m, s, u: x - s.lr * u - s.lr * s.lr * s.wd * x)),
    ),
    "decay-absolute": Mutant(
        "coupled weight decay does not follow the learning rate", _update(_with(_absolute_decay))
    ),
    "decay-skips-vectors": Mutant(
        "parameters of one dimension do not decay",
        _update(_unless(lambda x, g: x.ndim == 1, _without_decay)),
    ),
    "decay-skips-zero-gradient": Mutant(
        "a zero gradient switches the decay off",
        _update(_unless(lambda x, g: not np.any(g), _without_decay)),
    ),
    "decay-by-default": Mutant(
        "weight decay is 1e-3 unless it is set",
        _update(_with(lambda lion, name, x, g, m, s: (x, g, m, s._replace(wd=s.wd or 1e-3)))),
    ),
    "betas-of-adam": Mutant(
        "b2 is 0.999 where it should be 0.99",
        _update(
            _with(
                lambda lion, name, x, g, m, s: (
                    x,
                    g,
                    m,
                    s._replace(b2=0.999 if s.b2 == 0.99 else s.b2),
                )
            )
        ),
    ),
    "mask-ignored": Mutant(
        "every parameter decays, whatever the mask says",
        lambda: Variant(obey=lambda config, mask: (config, None)),
    ),
    "independent-ignored": Mutant(
        "independent decay is multiplied by the learning rate",
        lambda: Variant(
            obey=lambda config, mask: (replace(config, decay="coupled", lr_peak=None), mask)
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
    "lr-zero-freezes": Mutant("at lr = 0 the momentum does not move", _update(_frozen_at_zero)),
    "per-operation-rounding": Mutant(
        "every operation is rounded to the parameter's dtype", _update(_rounding_everything)
    ),
    "rounded-between": Mutant(
        "the parameter is rounded after its decay and again after its step, the momentum likewise",
        _update(_rounding_between),
    ),
    "complex-phase": Mutant(
        "the sign of a complex number is its phase, not that of its parts",
        _update(_complex_phase),
    ),
    "computed-in-float32": Mutant(
        "float64 parameters are updated in float32", _update(_in_float32)
    ),
    "step-added": Mutant(
        "the step is added where it should be subtracted",
        _update(_formula(lambda x, g, m, s: -_direction(x, g, m, s))),
    ),
    "maximize": Mutant(
        "it ascends: the gradient is negated",
        _update(_with(lambda lion, name, x, g, m, s: (x, np.negative(g), m, s))),
    ),
    "maximize-ignored": Mutant(
        "maximize is ignored",
        lambda: Variant(obey=lambda config, mask: (replace(config, maximize=False), mask)),
    ),
    "skip-ignored": Mutant(
        "nonfinite='skip' is ignored",
        lambda: Variant(obey=lambda config, mask: (replace(config, nonfinite="propagate"), mask)),
    ),
    "moved-without-gradient": Mutant(
        "a missing gradient counts as zero", lambda: Variant(missing=np.zeros_like)
    ),
    "gradient-overwritten": Mutant("the gradient is written to", _update(_overwriting)),
    "first-step-skipped": Mutant("the first step moves no parameter", _update(_skipped_first)),
    "stepping-twice": Mutant("the first step is made twice", _update(_twice)),
    "last-block-missing": Mutant(
        "the elements after the last whole block of eight are not written", _update(_last_block)
    ),
    "memory-order": Mutant(
        "strided gradients are read in the order of their memory", _update(_with(_memory_order))
    ),
    "reset-on-load": Mutant(
        "the momentum is zero after loading a state",
        lambda: Variant(restore=lambda x, m: np.zeros_like(m)),
    ),
    "no-op": Mutant("nothing moves", _update(lambda lion, name, x, g, m, s: (x, m))),
    "signsgd": Mutant("it is signSGD", _update(_with(_signsgd))),
    "adamw": Mutant("it is AdamW", _update(_adamw)),
}
"""Mutant by name. The last three are the controls: other optimizers altogether."""
