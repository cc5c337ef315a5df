"""The state of Lion in the form that all backends share (L-030)."""

from collections.abc import Iterable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lion_ports.errors import StateError
from lion_ports.state import PortableState
from lion_ports.torch import counters
from lion_ports.torch.foreign import refuse_foreign_optimizer
from lion_ports.torch.jobs import Group
from lion_ports.torch.optimizer import Lion
from lion_ports.torch.sharding import placed, whole
from lion_ports.torch.slots import init_slots
from lion_ports.torch.states import Slots

# A model, or what its named_parameters() returns.
Parameters = torch.nn.Module | Iterable[tuple[str, Tensor]]
# By name: a parameter of the optimizer, and its group.
Held = dict[str, tuple[Tensor, Group]]

# Tensors beside a parameter, in its slots and in the portable state.
_BESIDE = {"exp_avg_scale": "momentum_scale", "correction": "correction", "average": "average"}
_COUNTERS = ("count", "skipped", "micro", "good_steps")
# What no other Lion has a place for.
_OPTIONAL = (*_BESIDE.values(), "micro", "loss_scale", "lr_peak")


def export_state(parameters: Parameters, optimizer: torch.optim.Optimizer) -> PortableState:
    """Parameters and optimizer as NumPy arrays by name (L-030).

    Args:
        parameters: a model, or names and parameters. Those that are not the optimizer's are left
            out. DTensors are gathered: every rank must call this.
        optimizer: ours, or another Lion that keeps its momentum as ``exp_avg``: those of google,
            lion-pytorch and timm do. These count no updates, and the exported count is 0.

    Raises:
        StateError: the optimizer has a parameter without a name here, or it is no Lion.

    >>> model = torch.nn.Linear(2, 1)
    >>> export_state(model, Lion(model.parameters())).momentum
    {'weight': array([[0., 0.]], dtype=float32), 'bias': array([0.], dtype=float32)}
    """
    if not isinstance(optimizer, Lion):
        refuse_foreign_optimizer(optimizer)
    held = _held(parameters, optimizer)
    slots = {name: _slots(p, group, optimizer) for name, (p, group) in held.items()}
    xs = {name: to_numpy(p) for name, (p, _) in held.items()}
    ms = {name: to_numpy(kept["exp_avg"]) for name, kept in slots.items()}
    if not isinstance(optimizer, Lion):
        return PortableState(xs, ms)
    seen = {name: int(kept["seen"]) for name, kept in slots.items() if kept.get("seen", 0) > 0}
    first = optimizer.param_groups[0]
    beside: dict[str, Any] = {
        field: {n: to_numpy(kept[slot]) for n, kept in slots.items() if slot in kept}
        for slot, field in _BESIDE.items()
    }
    return PortableState(
        xs,
        ms,
        **beside,
        gradient_sum={name: to_numpy(slots[name]["grad_sum"]) for name in seen},
        seen=seen,
        loss_scale=float(first["loss_scale"]) if "loss_scale" in first else None,
        lr_peak={
            name: float(group["lr_peak"])
            for name, (_, group) in held.items()
            if group["lr_peak"] is not None
        },
        **{name: int(first[name]) for name in _COUNTERS},  # type: ignore[arg-type]
    )


def import_state(
    portable: PortableState, parameters: Parameters, optimizer: torch.optim.Optimizer
) -> None:
    """Set parameters and optimizer to a saved state, from which they go on (L-021, L-030).

    Args:
        portable: from :func:`export_state` of any backend, or ``lion_ports.load_state``.
        parameters: as in :func:`export_state`; they are changed in place.
        optimizer: as in :func:`export_state`. Ours keeps the momentum in the dtype that was saved;
            torch casts that of another to the dtype of its parameter.

    Raises:
        StateError: names, shapes, dtypes or options differ, or ``optimizer`` is no Lion; the
            message says which. Nothing has changed.
    """
    if not isinstance(optimizer, Lion):
        refuse_foreign_optimizer(optimizer)
    held = _held(parameters, optimizer)
    _refuse_other_parameters(portable, held)
    groups = optimizer.state_dict()["param_groups"]
    if isinstance(optimizer, Lion):
        _refuse_missing_options(portable, held, optimizer)
        _restore_groups(groups, portable, held, optimizer)
    elif any(getattr(portable, field) for field in _OPTIONAL):
        raise StateError(
            "the saved state is of a Lion with options that are part of it, and this optimizer is "
            f"a {type(optimizer).__name__} without them; go on with lion_ports.torch.Lion"
        )
    ids = {id(p): key for key, p in _in_order(groups, optimizer)}
    state = {}
    for name, (p, group) in held.items():
        slots: Slots = {}
        if isinstance(optimizer, Lion):
            init_slots(p, slots, group, optimizer.config)  # what was not saved begins anew
        else:
            slots |= optimizer.state.get(p, {})
        if portable.momentum[name].dtype != np.int8:
            slots.pop("exp_avg_scale", None)
        state[ids[id(p)]] = slots | _saved(portable, name, p, slots)
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    with torch.no_grad():
        for name, (p, _) in held.items():
            p.copy_(placed(from_numpy(portable.parameters[name]), p))
            if "average" in state[ids[id(p)]] and name not in portable.average:
                optimizer.state[p]["average"].copy_(p)


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """A copy, gathered if it is a DTensor; bfloat16 is ``ml_dtypes.bfloat16``."""
    tensor = whole(tensor.detach()).cpu().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().copy().view(ml_dtypes.bfloat16)
    return tensor.numpy().copy()


def from_numpy(array: NDArray[Any]) -> Tensor:
    """A copy in the same dtype."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(np.array(array.view(np.int16))).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def _held(parameters: Parameters, optimizer: torch.optim.Optimizer) -> Held:
    named = parameters.named_parameters() if isinstance(parameters, torch.nn.Module) else parameters
    names = {id(p): name for name, p in named}
    owned = [(p, group) for group in optimizer.param_groups for p in group["params"]]
    if lost := [p for p, _ in owned if id(p) not in names]:
        raise StateError(
            f"the optimizer has a parameter of shape {tuple(lost[0].shape)} that has no name here; "
            "give the model, or the parameters, that the optimizer was made with"
        )
    return {names[id(p)]: (p, group) for p, group in owned}


def _slots(p: Tensor, group: Group, optimizer: torch.optim.Optimizer) -> Slots:
    """A copy of the state of one parameter, made up where it had no gradient yet."""
    slots = dict(optimizer.state.get(p, {}))
    if isinstance(optimizer, Lion):
        init_slots(p, slots, group, optimizer.config)
    elif not slots:
        slots["exp_avg"] = torch.zeros_like(p)
    return slots


def _saved(portable: PortableState, name: str, p: Tensor, slots: Slots) -> Slots:
    """What was saved of one parameter and has a place in its state."""
    tensors = {
        "exp_avg": portable.momentum,
        "grad_sum": portable.gradient_sum,
        **{slot: getattr(portable, field) for slot, field in _BESIDE.items()},
    }
    found = {key: placed(from_numpy(of[name]), p) for key, of in tensors.items() if name in of}
    found["seen"] = torch.tensor(portable.seen.get(name, 0), device="cpu")
    return {key: value for key, value in found.items() if key == "exp_avg" or key in slots}


def _refuse_other_parameters(portable: PortableState, held: Held) -> None:
    if lost := [name for name in held if name not in portable.parameters]:
        raise StateError(f"the saved state has no parameter {lost[0]!r}")
    if extra := [name for name in portable.parameters if name not in held]:
        raise StateError(f"the saved state has {extra[0]!r}, which is no parameter of this Lion")
    for name, (p, _) in held.items():
        saved, due = portable.parameters[name], tuple(p.shape)
        if saved.shape != due:
            raise StateError(f"{name!r} was saved with shape {saved.shape}, and has {due}")
        if (dtype := from_numpy(saved.reshape(-1)[:0]).dtype) != p.dtype:
            raise StateError(f"{name!r} was saved as {dtype}, and is {p.dtype}; convert the model")


def _refuse_missing_options(portable: PortableState, held: Held, optimizer: Lion) -> None:
    """A run with an option does not go on as the same run without it."""
    counters.refuse_window(portable.micro, optimizer.config)
    without = {
        "ema_decay": any(held[name][1]["ema_decay"] is None for name in portable.average),
        "loss_scale='dynamic'": portable.loss_scale is not None and not optimizer.config.dynamic,
        "decay='independent'": any(held[name][1]["lr_peak"] is None for name in portable.lr_peak),
        "momentum_dtype='int8'": any(
            held[name][1]["momentum_dtype"] != "int8" for name in portable.momentum_scale
        ),
        "correction_bits": any(
            held[name][1]["correction_bits"] is None for name in portable.correction
        ),
    }
    for option, missing in without.items():
        if missing:
            raise StateError(
                f"the saved state is of an optimizer with {option}, and this one is without; make "
                "it with the same options"
            )


def _restore_groups(
    groups: list[Group], portable: PortableState, held: Held, optimizer: Lion
) -> None:
    """Write counters, loss scale and peaks into the groups of a state dict."""
    for saved, group in zip(groups, optimizer.param_groups, strict=True):
        saved |= {name: torch.tensor(getattr(portable, name), device="cpu") for name in _COUNTERS}
        if portable.loss_scale is not None:
            saved["loss_scale"] = torch.tensor(portable.loss_scale, device="cpu")
        peaks = {peak for name, peak in portable.lr_peak.items() if held[name][1] is group}
        if len(peaks) > 1:
            raise StateError(
                f"the saved state has several lr_peak, {sorted(peaks)}, for parameters of one "
                "group; make several groups of them"
            )
        if peaks:
            saved["lr_peak"] = peaks.pop()


def _in_order(
    groups: list[Group], optimizer: torch.optim.Optimizer
) -> Iterator[tuple[int, Tensor]]:
    """The number of each parameter in a state dict, and the parameter."""
    for saved, group in zip(groups, optimizer.param_groups, strict=True):
        yield from zip(saved["params"], group["params"], strict=True)
