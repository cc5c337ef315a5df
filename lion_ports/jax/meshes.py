"""Meshes of explicit axis types, on which the type of an array says how it is divided."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array, P
from jax.sharding import AxisType, NamedSharding, auto_axes


def division(array: Array) -> NamedSharding | None:
    """How an array is divided, where its type says so; None: XLA says."""
    sharding = jax.typeof(array).sharding
    return sharding if AxisType.Explicit in sharding.mesh.axis_types else None


def division_by_rows(array: Array, parts: bool) -> NamedSharding | None:
    """How a vector is divided that belongs to an array.

    Args:
        array: what it belongs to.
        parts: whether each row of the array has a part of the vector to itself.
    """
    if (sharding := division(array)) is None:
        return None
    along = parts and array.ndim > 1 and all(axis is None for axis in sharding.spec[1:])
    return NamedSharding(sharding.mesh, P(sharding.spec[0] if along else None))


def divided(function: Callable[..., Any], *divisions: NamedSharding | None) -> Callable[..., Any]:
    """A function, whose results are divided like this; inside of it XLA says how.

    An explicit mesh refuses to flatten what is divided, where XLA itself sends what it needs.
    """
    if None in divisions:
        return function
    one, *more = divisions
    result: Callable[..., Any] = auto_axes(function, out_sharding=divisions if more else one)
    return result
