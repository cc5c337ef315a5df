"""Whether gradients, states and arguments fit their parameters, before anything is changed.

Shapes and dtypes alone are looked at, which are there inside ``mx.compile`` as well.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import mlx.core as mx
from mlx.optimizers import MultiOptimizer, Optimizer

from lion_ports.errors import ConfigError, StateError
from lion_ports.mlx.storage import CORRECTIONS, scale_count
from lion_ports.mlx.trees import RESERVED, Leaf
from lion_ports.state import PortableState

_SLOTS = frozenset(("m", "m_scale", "correction", "average", "grad_sum", "seen"))
_LIKE_PARAMETERS = _SLOTS - {"m_scale", "seen"}


def refuse_other_gradients(grads: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """A gradient has the shape of its parameter, and is complex where that is (L-013, L-014).

    Raises:
        ConfigError: it has not, or is no ``mx.array``.
    """
    for path, g in grads.items():
        if (x := params.get(path)) is None:
            raise ConfigError(f"there is a gradient of {path}, and no such parameter")
        for what, array in (("gradient of", g), ("parameter", x)):
            if not isinstance(array, mx.array):
                raise ConfigError(
                    f"the {what} {path} is a {type(array).__module__}.{type(array).__name__}; "
                    "give an mx.array"
                )
        if not _fits(g, x):
            raise ConfigError(
                f"the gradient of {path} is {_described(g)}, and its parameter {_described(x)}; "
                "give a gradient of that shape, complex where it is"
            )


def refuse_other_slots(leaves: list[Leaf]) -> None:
    """What a state has beside a parameter is of that parameter (L-002).

    Raises:
        StateError: another shape, or complex where the parameter is not; codes without their
            scales, or scales or a correction where they do not belong (L-031, L-032).
    """
    for path, x, slots in leaves:
        for name, array in slots.items():
            if name in _LIKE_PARAMETERS and not _fits(array, x):
                raise StateError(
                    f"the state's {name} of {path} is {_described(array)}, and the parameter "
                    f"{_described(x)}; give the optimizer a state of these parameters"
                )
        if "m" in slots:
            _refuse_other_scales(path, slots["m"], slots.get("m_scale"))
        if "correction" in slots:
            _refuse_other_correction(path, x, slots["correction"])


def refuse_other_state(state: Any, steps: int) -> None:
    """A state that is assigned is that of a Lion, of no more micro-steps than ``steps``.

    Raises:
        StateError: it is not.
    """
    if not isinstance(state, dict):
        raise StateError(f"the state is of type {type(state).__name__}, not a dictionary")
    for path, slots in _slots({key: v for key, v in state.items() if key not in RESERVED}):
        if not is_lions(slots):
            raise StateError(
                f"the state of {path or 'the parameter'} has {', '.join(sorted(slots))}, and is "
                "not that of a Lion, which has m (and m_scale, correction, average, grad_sum, "
                "seen); let the optimizer begin anew"
            )
    counters = state.get("lion", {})
    if not isinstance(counters, dict):
        raise StateError(
            f"the state's 'lion' is of type {type(counters).__name__}, not a dictionary"
        )
    if "micro" in counters:
        refuse_longer_window(_value(counters["micro"]), steps)


def refuse_other_arguments(parameters: Any, optimizer: Any) -> None:
    """Parameters are a tree of arrays, and an optimizer is one of MLX's.

    Raises:
        StateError: they are not, as when they are given in another order.
    """
    order = "give parameters and optimizer in this order, the portable state before them"
    if isinstance(optimizer, MultiOptimizer):
        raise StateError("a MultiOptimizer has several states; give one of its optimizers")
    if not isinstance(optimizer, Optimizer):
        raise StateError(
            f"the optimizer is of type {type(optimizer).__name__}, not an optimizer of MLX; {order}"
        )
    if not isinstance(parameters, (dict, list, tuple, mx.array)):
        raise StateError(
            f"the parameters are of type {type(parameters).__name__}, not a tree of arrays; {order}"
        )


def refuse_other_portable(portable: Any) -> None:
    """What is imported is a portable state (L-030).

    Raises:
        StateError: it is not.
    """
    if not isinstance(portable, PortableState):
        raise StateError(
            f"the portable state is of type {type(portable).__name__}, not a PortableState; give "
            "what export_state or load_state returned, before parameters and optimizer"
        )


def is_lions(slots: Mapping[str, Any]) -> bool:
    """Whether a Lion keeps this beside a parameter."""
    return (
        "m" in slots
        and slots.keys() <= _SLOTS
        and all(isinstance(array, mx.array) for array in slots.values())
    )


def refuse_longer_window(micro: int, steps: int) -> None:
    """The sum of more gradients than ``steps`` has no mean of ``steps`` (L-025).

    Raises:
        StateError: as many micro-steps are in the state, or more.
    """
    if micro >= steps:
        raise StateError(
            f"the state is in the middle of an accumulation, after {micro} micro-steps, and this "
            f"optimizer has gradient_accumulation_steps={steps}; make it with more than {micro}, "
            "or save the state after an update"
        )


def _slots(tree: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dictionary in a state that has something other than more of the tree."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree)
    own = {}
    for key, child in children:
        if isinstance(child, (dict, list, tuple)):
            yield from _slots(child, f"{path}.{key}" if path else str(key))
        else:
            own[str(key)] = child
    if own:
        yield path, own


def _refuse_other_scales(path: str, m: mx.array, scale: mx.array | None) -> None:
    due = f"bfloat16[{scale_count(m.size)}]" if m.dtype == mx.int8 else "None"
    if (found := "None" if scale is None else _described(scale)) != due:
        raise StateError(
            f"the state's m_scale of {path} is {found}, and {due} belongs beside its m, which is "
            f"{_described(m)}; give the optimizer the whole of a state that was saved"
        )


def _refuse_other_correction(path: str, x: mx.array, correction: mx.array) -> None:
    if x.dtype != mx.bfloat16 or correction.dtype not in CORRECTIONS:
        raise StateError(
            f"the state's correction of {path} is {_described(correction)}, and the parameter "
            f"{_described(x)}; it has to be int8 or int16, of a bfloat16 parameter"
        )


def _fits(array: mx.array, x: mx.array) -> bool:
    return array.shape == x.shape and (array.dtype == mx.complex64) == (x.dtype == mx.complex64)


def _described(array: mx.array) -> str:
    return f"{str(array.dtype).rpartition('.')[2]}{list(array.shape)}"


def _value(micro: Any) -> int:
    try:
        return int(micro)
    except ValueError:  # inside mx.compile, where no value can be looked at
        return 0
