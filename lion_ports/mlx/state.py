"""The state of Lion in the form that all backends share (L-030)."""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
from mlx.optimizers import Optimizer
from numpy.typing import NDArray

from lion_ports.errors import StateError
from lion_ports.mlx.group import Group
from lion_ports.mlx.optimizer import Lion
from lion_ports.mlx.step import init_slots
from lion_ports.mlx.structure import (
    is_lions,
    refuse_longer_window,
    refuse_other_arguments,
    refuse_other_portable,
)
from lion_ports.mlx.trees import Slots, entries, known, replaced
from lion_ports.state import PortableState

# Parameters that an optimizer has state of, with that state, by dotted path.
Held = dict[str, tuple[mx.array, Slots]]

_COUNTERS = ("skipped", "micro", "loss_scale", "good_steps")


def export_state(parameters: Any, optimizer: Optimizer) -> PortableState:
    """Parameters and optimizer as NumPy arrays by dotted path (L-030).

    Args:
        parameters: a tree, such as ``model.trainable_parameters()``, or the model itself. Those
            that the optimizer has no state of, because another one updates them, are left out.
        optimizer: a Lion, ours or MLX's; of a MultiOptimizer, one of its ``optimizers``.

    Raises:
        StateError: an argument is of another kind, or the optimizer has no state of these
            parameters, or it is no Lion's.

    >>> optimizer, parameters = Lion(), {"dense": {"weight": mx.ones(2)}}
    >>> optimizer.init(parameters)
    >>> export_state(parameters, optimizer).momentum
    {'dense.weight': array([0., 0.], dtype=float32)}
    """
    held = _held(parameters, optimizer)
    xs = {path: to_numpy(x) for path, (x, _) in held.items()}
    ms, count = _collected(held, "m"), int(optimizer.state["step"])
    if not isinstance(optimizer, Lion):
        return PortableState(xs, ms, count=count)
    sums = _collected(held, "grad_sum")
    times = {path: int(held[path][1]["seen"]) for path in sums}
    peaks = {path: optimizer.group_of(path, x).lr_peak for path, (x, _) in held.items()}
    counters = optimizer.state.get("lion", {})
    counted: Any = {name: counters[name].item() for name in _COUNTERS if name in counters}
    return PortableState(
        xs,
        ms,
        momentum_scale=_collected(held, "m_scale"),
        correction=_collected(held, "correction"),
        average=_collected(held, "average"),
        gradient_sum={path: total for path, total in sums.items() if times[path]},
        seen={path: n for path, n in times.items() if n},
        count=count,
        lr_peak={path: float(peak) for path, peak in peaks.items() if peak is not None},
        **counted,
    )


def import_state(portable: PortableState, parameters: Any, optimizer: Optimizer) -> Any:
    """The saved parameters; the optimizer goes on from the saved state (L-021, L-030).

    Args:
        portable: from ``export_state`` of any backend, or ``lion_ports.load_state``.
        parameters: as in :func:`export_state`; their values do not matter.
        optimizer: as in :func:`export_state`, after ``optimizer.init(parameters)``. Its state is
            changed in place, so that compiled steps go on with it.

    Returns:
        A tree for ``model.update``.

    Raises:
        StateError: an argument is of another kind, or names, shapes, dtypes or options differ; the
            message says which. Nothing has changed.
    """
    refuse_other_portable(portable)
    held = _held(parameters, optimizer)
    counters = optimizer.state.get("lion", {})
    _refuse_other_parameters(portable, held)
    new = {path: from_numpy(portable.parameters[path], path) for path in held}
    saved = {path: _slots(portable, path) for path in held}
    fresh = {path: dict(slots) for path, (_, slots) in held.items()}
    is_ours = isinstance(optimizer, Lion)
    if is_ours:  # what was not saved begins anew
        fresh = {path: {} for path in held}
        for path, (x, _) in held.items():
            init_slots(new[path], fresh[path], optimizer.group_of(path, x).config)
    _refuse_missing_options(portable, fresh, counters)
    steps = optimizer.config.gradient_accumulation_steps if is_ours else 1
    refuse_longer_window(portable.micro, steps)
    peaks = _peaks(portable, held, optimizer) if is_ours else {}

    for path, (_, slots) in held.items():
        restored = {name: saved[path].get(name, array) for name, array in fresh[path].items()}
        if "m_scale" not in saved[path]:  # the momentum keeps the dtype in which it was saved
            restored.pop("m_scale", None)
        slots.clear()
        slots.update(restored)
    optimizer.state["step"] = mx.array(portable.count, mx.uint64)
    for name in counters.keys() & _COUNTERS:
        if (value := getattr(portable, name)) is not None:
            counters[name] = mx.array(value, counters[name].dtype)
    for group, peak in peaks.items():
        group.lr_peak = peak
    return replaced(known(parameters, optimizer.state), new)


def to_numpy(array: mx.array) -> NDArray[Any]:
    """A copy; bfloat16 is ``ml_dtypes.bfloat16``."""
    if array.dtype == mx.bfloat16:
        return np.array(array.view(mx.uint16)).view(ml_dtypes.bfloat16)
    return np.array(array)


def from_numpy(array: NDArray[Any], path: str = "the array") -> mx.array:
    """A copy in the same dtype.

    Raises:
        StateError: MLX has no such dtype.
    """
    if array.dtype == np.complex128:
        raise StateError(f"{path} was saved as complex128, which MLX does not have")
    return mx.array(array, mx.float64) if array.dtype == np.float64 else mx.array(array)


def _held(parameters: Any, optimizer: Optimizer) -> Held:
    refuse_other_arguments(parameters, optimizer)
    leaves = entries(known(parameters, optimizer.state), optimizer.state)
    held = {path: (x, slots) for path, x, slots in leaves}
    if not held:
        raise StateError(
            "the optimizer has no state of these parameters; call optimizer.init(parameters) first"
        )
    if foreign := [path for path, (_, slots) in held.items() if not is_lions(slots)]:
        raise StateError(f"the optimizer's state of {foreign[0]!r} is not that of a Lion")
    return held


def _collected(held: Held, name: str) -> dict[str, NDArray[Any]]:
    return {path: to_numpy(slots[name]) for path, (_, slots) in held.items() if name in slots}


def _slots(portable: PortableState, path: str) -> Slots:
    """What was saved of one parameter, by the names of our state."""
    saved = {
        "m": portable.momentum,
        "m_scale": portable.momentum_scale,
        "correction": portable.correction,
        "grad_sum": portable.gradient_sum,
        "average": portable.average,
    }
    slots = {name: from_numpy(of[path], path) for name, of in saved.items() if path in of}
    return slots | {"seen": mx.array(portable.seen.get(path, 0), mx.int32)}


def _refuse_other_parameters(portable: PortableState, held: Held) -> None:
    if lost := [path for path in held if path not in portable.parameters]:
        raise StateError(f"the saved state has no parameter {lost[0]!r}")
    if extra := [path for path in portable.parameters if path not in held]:
        raise StateError(f"the saved state has {extra[0]!r}, which is no parameter of this Lion")
    for path, (x, _) in held.items():
        if (shape := portable.parameters[path].shape) != x.shape:
            raise StateError(f"{path!r} was saved with shape {shape}, and has {x.shape}")
        empty = portable.parameters[path].reshape(-1)[:0]
        if (dtype := from_numpy(empty, path).dtype) != x.dtype:
            raise StateError(f"{path!r} was saved as {dtype}, and is {x.dtype}; convert the model")


def _refuse_missing_options(
    portable: PortableState, fresh: dict[str, Slots], counters: Slots
) -> None:
    """A run with an option does not go on as the same run without it."""
    there = {name.partition(":")[0] for name in counters}
    lacks = {
        "ema_decay": _lacks("average", portable.average, fresh),
        "loss_scale='dynamic'": portable.loss_scale is not None and "loss_scale" not in there,
        "decay='independent'": bool(portable.lr_peak) and "lr_peak" not in there,
        "momentum_dtype='int8'": _lacks("m_scale", portable.momentum_scale, fresh),
        "correction_bits": _lacks("correction", portable.correction, fresh),
    }
    for option, is_missing in lacks.items():
        if is_missing:
            raise StateError(
                f"the saved state is of an optimizer with {option}, and this one is without; make "
                "it with the same options"
            )


def _lacks(name: str, saved: Mapping[str, Any], fresh: dict[str, Slots]) -> bool:
    return any(name not in fresh[path] for path in saved)


def _peaks(portable: PortableState, held: Held, optimizer: Lion) -> dict[Group, float]:
    """The ``lr_peak`` of each group, whose parameters have one and the same."""
    peaks: dict[Group, float] = {}
    for path, peak in portable.lr_peak.items():
        group = optimizer.group_of(path, held[path][0])
        if group.config.lr_peak is None:
            raise StateError(
                f"the saved state has an lr_peak of {path!r}, whose decay is 'coupled' here; make "
                "it with the same options"
            )
        if peaks.setdefault(group, peak) != peak:
            raise StateError(
                f"the saved state has several lr_peak, {peaks[group]} and {peak}, for parameters "
                "of one group; make several groups of them"
            )
    return peaks
