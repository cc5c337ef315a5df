"""The state of Lion in the form that all backends share (L-030)."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from lion_ports.errors import StateError
from lion_ports.jax.lion_state import LionState, copied, named_leaves, with_leaves
from lion_ports.state import PortableState


def export_state(params: Any, state: Any) -> PortableState:
    """Parameters and optimizer as NumPy arrays by name (L-030).

    Args:
        params: the parameters, a tree; its dotted paths are their names.
        state: a LionState, or optax's own ScaleByLionState, or a state of ``optax.chain``,
            ``partition``, ``inject_hyperparams`` ... with one or more of them inside. What other
            transforms keep is left out, and so are parameters that no Lion updates.

    Raises:
        StateError: there is no Lion in the state, or several that do not go together.

    >>> from lion_ports.jax import lion
    >>> params = {"dense": {"kernel": jnp.ones(2)}}
    >>> export_state(params, lion().init(params)).parameters
    {'dense.kernel': array([1., 1.], dtype=float32)}
    """
    named = named_leaves(params)
    arrays = dict(named)
    if len(arrays) < len(named):
        names = [name for name, _ in named]
        twice = next(name for name in names if names.count(name) > 1)
        raise StateError(f"two parameters have the path {twice!r}; rename one of them")
    parts = [_exported(arrays, part) for part in _parts(state)]
    merged: dict[str, Any] = {}
    for name in (field.name for field in fields(PortableState)):
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], Mapping):
            merged[name] = {k: v for value in values for k, v in value.items()}
        elif any(value != values[0] for value in values):
            raise StateError(
                f"the Lions in this state have different values of {name}, {values}, and one file "
                "has room for one; export them one by one"
            )
        else:
            merged[name] = values[0]
    return PortableState(**merged)


def import_state(portable: PortableState, params: Any, state: Any) -> tuple[Any, Any]:
    """Parameters and state to go on from (L-021, L-030).

    Args:
        portable: from :func:`export_state` of any backend, or ``lion_ports.load_state``.
        params: parameters of the same names, shapes and dtypes; their values do not matter.
        state: what ``init(params)`` of the optimizer that is to go on returns; each Lion inside
            gets its part, and other transforms' states stay as they are.

    Returns:
        Copies of both with everything restored, in the dtypes that were saved, on the devices of
        ``params`` and ``state``.

    Raises:
        StateError: names, shapes, dtypes or options differ; the message says which.
    """
    held = [name for part in _parts(state) for name, _ in named_leaves(part.mu)]
    if lost := [name for name in held if name not in portable.parameters]:
        raise StateError(f"the saved state has no parameter {lost[0]!r}")
    if extra := [name for name in portable.parameters if name not in held]:
        raise StateError(f"the saved state has {extra[0]!r}, which is no parameter of this Lion")

    def parameter(name: str, x: Any) -> Any:
        return _parameter(name, portable.parameters[name], x) if name in held else x

    new_params = with_leaves(params, parameter)
    arrays = dict(named_leaves(new_params))

    def restored(node: Any) -> Any:
        return _imported(portable, arrays, node) if _is_lion(node) else node

    return new_params, jax.tree.map(restored, state, is_leaf=_is_lion)


def _is_lion(node: Any) -> bool:
    return isinstance(node, LionState | optax.ScaleByLionState)


def _parts(state: Any) -> list[Any]:
    """Every Lion inside of an optax state."""
    parts = [node for node in jax.tree.leaves(state, is_leaf=_is_lion) if _is_lion(node)]
    if not parts:
        raise StateError(
            f"there is no Lion in this {type(state).__name__}; give the state of lion, fused_lion "
            "or optax.lion, alone or inside of other optax transforms"
        )
    return parts


def _exported(params: Mapping[str, Any], part: Any) -> PortableState:
    """One Lion, with the parameters that it updates."""
    momentum = _arrays(part.mu)
    if lost := [name for name in momentum if name not in params]:
        raise StateError(
            f"the state has momentum of {lost[0]!r}, which is no parameter; give the parameters "
            "that init was called with (optax.flatten, which makes them one, cannot be exported)"
        )
    parameters = {name: _array(name, params[name]) for name in momentum}
    if not isinstance(part, LionState):
        return PortableState(parameters, momentum, count=int(part.count))
    options: dict[str, Any] = {
        "momentum_scale": _arrays(part.mu_scale),
        "correction": _arrays(part.correction),
    }
    if part.micro is not None:
        seen = {n: int(k) for n, k in zip(momentum, np.asarray(part.seen), strict=True) if k}
        sums = {n: s for n, s in _arrays(part.grad_sum).items() if n in seen}
        options |= {"micro": int(part.micro), "gradient_sum": sums, "seen": seen}
    if part.average is not None:
        options["average"] = _arrays(part.average)
    if part.loss_scale is not None and part.good_steps is not None:
        options |= {"loss_scale": float(part.loss_scale), "good_steps": int(part.good_steps)}
    if part.lr_peak is not None:
        options["lr_peak"] = dict.fromkeys(momentum, float(part.lr_peak))
    return PortableState(
        parameters, momentum, count=int(part.count), skipped=int(part.skipped), **options
    )


def _imported(portable: PortableState, params: Mapping[str, Array], part: Any) -> Any:
    """One Lion with its part of a saved state."""
    _refuse_missing_options(portable, part)
    names = [name for name, _ in named_leaves(part.mu)]

    def tree(old: Any, saved: Mapping[str, Any], new: Callable[[Array], Array]) -> Any:
        return with_leaves(
            old, lambda n, a: _checked(n, saved[n], a) if n in saved else new(params[n])
        )

    def small(name: str, value: Any) -> dict[str, Array]:
        old = getattr(part, name)
        return {name: _placed(np.asarray(value, old.dtype), old)}

    restored = small("count", portable.count)
    restored |= {"mu": tree(part.mu, portable.momentum, jnp.zeros_like)}
    if not isinstance(part, LionState):
        return part._replace(**restored)
    if part.mu_scale is not None:  # None beside a momentum that was saved in another dtype
        scales, old = portable.momentum_scale, dict(named_leaves(part.mu_scale))
        restored["mu_scale"] = with_leaves(
            part.mu, lambda n, _: _placed(scales[n], old.get(n)) if n in scales else None
        )
    if part.correction is not None:  # of a parameter that was saved without: nothing is missing
        saved = portable.correction
        restored["correction"] = with_leaves(
            part.correction,
            lambda n, c: _checked(n, saved[n], c) if n in saved else jnp.zeros_like(c),
        )
    restored |= small("skipped", portable.skipped)
    if part.micro is not None:
        sums = tree(part.grad_sum, portable.gradient_sum, lambda x: jnp.zeros_like(copied(x)))
        seen = [portable.seen.get(name, 0) for name in names]
        restored |= small("micro", portable.micro) | small("seen", seen) | {"grad_sum": sums}
    if part.average is not None:  # one that is new begins at the parameter (L-029)
        restored["average"] = tree(part.average, portable.average, copied)
    if part.loss_scale is not None and portable.loss_scale is not None:
        restored |= small("loss_scale", portable.loss_scale)
        restored |= small("good_steps", portable.good_steps)
    if peaks := {portable.lr_peak[name] for name in names if name in portable.lr_peak}:
        if len(peaks) > 1:
            raise StateError(
                f"the saved state has several lr_peak, {sorted(peaks)}, and this Lion has one; "
                "divide the parameters among several with optax.partition"
            )
        restored |= small("lr_peak", peaks.pop())
    return part._replace(**restored)


def _refuse_missing_options(portable: PortableState, part: Any) -> None:
    """A run with an option does not go on as the same run without it."""
    if portable.micro > 0 and getattr(part, "micro", None) is None:
        raise StateError(
            f"the saved state is within an update, with {portable.micro} micro-steps done, and "
            "this optimizer makes an update of each step; make it with the "
            f"gradient_accumulation_steps that it was saved with (more than {portable.micro}), or "
            "save after an update"
        )
    needs = {
        "ema_decay": ("average", bool(portable.average)),
        "loss_scale='dynamic'": ("loss_scale", portable.loss_scale is not None),
        "decay='independent'": ("lr_peak", bool(portable.lr_peak)),
        "mu_dtype='int8'": ("mu_scale", bool(portable.momentum_scale)),
        "correction_bits": ("correction", bool(portable.correction)),
    }
    for option, (field, used) in needs.items():
        if used and getattr(part, field, None) is None:
            raise StateError(
                f"the saved state is of an optimizer with {option}, and this one is without; make "
                "it with the same options"
            )


def _parameter(name: str, array: NDArray[Any], old: Any) -> Array:
    """A saved parameter in the place of the old one; the model keeps its dtypes."""
    placed = _checked(name, array, old)
    if placed.dtype != (dtype := jnp.result_type(old)):
        raise StateError(f"{name!r} was saved as {placed.dtype}, and is {dtype}; convert the model")
    return placed


def _checked(name: str, array: NDArray[Any], old: Any) -> Array:
    """A saved parameter, or what belongs to one, in the place of the old one."""
    if array.shape != jnp.shape(old):
        raise StateError(f"{name!r} was saved with shape {array.shape}, and has {jnp.shape(old)}")
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise StateError(
            f"{name!r} was saved as {array.dtype}, which JAX has only with jax_enable_x64; set it"
        )
    return _placed(array, old)


def _placed(array: NDArray[Any], old: Any) -> Array:
    sharding = old.sharding if getattr(old, "committed", False) else None
    placed: Array = jax.device_put(array, sharding)
    return placed


def _arrays(tree: Any) -> dict[str, NDArray[Any]]:
    return {name: _array(name, leaf) for name, leaf in named_leaves(tree)}


def _array(name: str, leaf: Any) -> NDArray[Any]:
    if not getattr(leaf, "is_fully_addressable", True):
        raise StateError(
            f"{name!r} is spread over several processes; gather parameters and state first, with "
            "jax.experimental.multihost_utils.process_allgather(..., tiled=True)"
        )
    return np.asarray(leaf)
