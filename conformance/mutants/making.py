"""What mutants are made of: the right update, with one part of it exchanged."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import LionConfig, Scalars
from lion_ports.conformance.variants import Update, Variant, right_update

Array = NDArray[Any]
Arrays = tuple[Array, Array]


class Mutant(NamedTuple):
    """A wrong Lion: what it does in place of the right thing, and a fresh one of it."""

    sentence: str
    make: Callable[[], Variant]


def updating(update: Update) -> Callable[[], Variant]:
    """A Lion with another update."""
    return lambda: Variant(update=update)


def formula(
    direction: Callable[..., Any] | None = None,
    moved: Callable[..., Any] | None = None,
    momentum: Callable[..., Any] | None = None,
) -> Callable[[], Variant]:
    """A Lion with another formula for its direction, its new parameter or its new momentum.

    The replacements see ``x, g, m`` in the compute dtype, the scalars as ``s`` and, for
    ``moved``, the direction ``u``.
    """

    def update(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
        if np.iscomplexobj(x):
            return right_update(lion, name, x, g, m, s)
        dtype = reference.compute_dtype(x.dtype)
        x_, g_, m_ = (a.astype(dtype) for a in (x, g, m))
        s = Scalars(*(dtype(v) for v in s[:4]))
        u = (direction or right_direction)(x_, g_, m_, s)
        new_x = (moved or right_move)(x_, g_, m_, s, u)
        new_m = (momentum or right_momentum)(x_, g_, m_, s)
        stored = reference.narrow(np.asarray(new_x), x.dtype)
        return stored, reference.narrow(np.asarray(new_m), m.dtype)

    return updating(update)


def mix(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """``c``, whose sign is the direction."""
    return s.b1 * m + (1 - s.b1) * g


def right_direction(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """``u``, as it should be."""
    return reference.sign(np.asarray(mix(x, g, m, s)))


def right_move(x: Array, g: Array, m: Array, s: Scalars, u: Array) -> Any:
    """``x'``, as it should be."""
    return x - s.lr * (u + s.wd * x) if s.wd else x - s.lr * u


def right_momentum(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """``m'``, as it should be."""
    return s.b2 * m + (1 - s.b2) * g


def with_inputs(
    change: Callable[..., tuple[Array, Array, Array, Scalars]],
) -> Callable[[], Variant]:
    """The right update of changed inputs; ``change(lion, name, x, g, m, s)``."""

    def update(lion: Variant, name: str, *args: Any) -> Arrays:
        return right_update(lion, name, *change(lion, name, *args))

    return updating(update)


def with_scalars(
    change: Callable[[Scalars], Scalars],
    where: Callable[[Array, Array], bool] = lambda x, g: True,
) -> Callable[[], Variant]:
    """The right update with other scalars, where ``where(x, g)`` holds."""
    return with_inputs(lambda lion, name, x, g, m, s: (x, g, m, change(s) if where(x, g) else s))


def obeying(change: Callable[[LionConfig], LionConfig]) -> Callable[[], Variant]:
    """A Lion that reads its settings wrong."""
    return lambda: Variant(obey=lambda config, mask: (change(config), mask))


def on_reals(wrong: Callable[..., Arrays]) -> Callable[[], Variant]:
    """``wrong(lion, name, x, g, m, s)`` for real parameters; complex ones are updated right."""

    def update(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
        return (right_update if np.iscomplexobj(x) else wrong)(lion, name, x, g, m, s)

    return updating(update)
