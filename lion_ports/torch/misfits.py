"""States that do not fit their parameters, which are refused before anything moves."""

from itertools import repeat

import torch
from torch import Tensor

from lion_ports.errors import StateError
from lion_ports.torch.column import Column, has_memory, overlaps
from lion_ports.torch.states import Slots, States
from lion_ports.torch.storage import CORRECTIONS, scale_count

# What has the shape of its parameter, and how it is called.
SHAPED = {
    "exp_avg": "momentum",
    "average": "average",
    "correction": "correction",
    "grad_sum": "sum of gradients",
}
# The dtypes that each of them may have beside a real parameter; where it is missing, those of that.
_FLOATS = frozenset((torch.float32, torch.float64, torch.bfloat16, torch.float16))
_DTYPES = {"exp_avg": {torch.int8}, "correction": set(CORRECTIONS.values())}
_AGAIN = "make a new optimizer, or take the old state out of optimizer.state"


def refuse_misfits(params: Column, states: States, *, momenta_alone: bool) -> None:
    """Look at all that is kept beside some parameters; what is not there yet fits.

    Args:
        params: any.
        states: of each.
        momenta_alone: there is nothing else in them.

    Raises:
        StateError: what is in a state is no tensor, or one that its parameter cannot have there; or
            a part of a state is missing.
    """
    coded = False
    for name in ("exp_avg",) if momenta_alone else SHAPED:
        beside = states.column(name)
        if beside is None:
            beside = Column(map(dict.get, states, repeat(name), params))
        if not _fit(params, beside, name):
            for p, t in zip(params, beside, strict=True):
                _refuse_misfit(p, t, name)
        coded |= torch.int8 in beside.dtypes
    if coded or not momenta_alone:
        for p, kept in zip(params, states, strict=True):
            _refuse_small(p, kept)
            _refuse_halves(kept)


def _fit(params: Column, beside: Column, name: str) -> bool:
    """Whether each fits for certain, so far as it is seen of all at once."""
    placed = beside.plain and beside.strided and params.same_devices(beside) and beside.in_memory
    due = _FLOATS | _DTYPES.get(name, set())
    fit = placed and beside.dtypes <= due and params.dtypes <= _FLOATS
    return fit and params.same_shapes(beside) and not beside.overlapping


def _refuse_misfit(p: Tensor, t: Tensor, name: str) -> None:
    """Raise a StateError if a tensor cannot be what has the shape of its parameter."""
    if t is p:
        return
    called = SHAPED[name]
    _refuse_unplaced(p, t, called)
    if p.shape != t.shape:
        raise _replaced(p, t, called)
    due = t.is_complex() if p.is_complex() else t.dtype in _FLOATS | _DTYPES.get(name, set())
    if not due and name != "correction":
        raise StateError(
            f"the {called} in a state is of {t.dtype}, and its parameter of {p.dtype}: one of them "
            f"was replaced; {_AGAIN}"
        )
    if overlaps(t):
        raise StateError(
            f"elements of the {called} in a state share their memory, as expand() makes them; "
            "make it contiguous"
        )


def _refuse_unplaced(p: Tensor, t: object, called: str) -> None:
    """Raise a StateError if this is no tensor with memory where its parameter has it."""
    if not isinstance(t, Tensor):
        found = f"no tensor, but of {type(t)}"
    elif t.layout != torch.strided:
        found = "sparse"
    elif t.device != p.device:
        found = f"on {t.device}, and its parameter on {p.device}"
    elif not has_memory(t):
        found = "without memory, which was given back"
    else:
        return
    raise StateError(f"the {called} in a state is {found}; put it back, or {_AGAIN}")


def _refuse_halves(slots: Slots) -> None:
    """Raise a StateError if a part of a state is of no use without another, which is missing."""
    m, lost = slots.get("exp_avg"), None
    if m is not None and m.dtype == torch.int8 and "exp_avg_scale" not in slots:
        lost = "a momentum of int8 without its scales"
    seen = slots.get("seen", 0)
    if "seen" in slots and not (isinstance(seen, Tensor) and seen.ndim == 0):
        raise StateError(f"the count of gradients in a state is {seen!r}, and no tensor; {_AGAIN}")
    if "grad_sum" not in slots and seen > 0:
        lost = "seen gradients, and lost their sum"
    if lost is not None:
        raise StateError(f"a state has {lost}: a part of it was taken out; {_AGAIN}")


def _refuse_small(p: Tensor, slots: Slots) -> None:
    """Raise a StateError if scales or correction do not fit their parameter (L-031, L-032)."""
    scales, correction = None, slots.get("correction")
    if "exp_avg_scale" in slots:
        scales = slots["exp_avg_scale"]
        _refuse_unplaced(p, scales, "scale of the momentum")
        if scales.numel() != scale_count(p.numel()) or not scales.is_contiguous():
            raise _replaced(p, scales, "scales of the momentum")
    with_correction = None if correction is None else p
    for called, t, due in (
        ("the scales of a momentum are", scales, (torch.bfloat16,)),
        ("a correction is", correction, tuple(CORRECTIONS.values())),
        ("a parameter with a correction is", with_correction, (torch.bfloat16,)),
    ):
        if t is not None and t.dtype not in due:
            raise StateError(
                f"{called} of {t.dtype}, and not of {' or '.join(map(str, due))}, as it was made; "
                "convert it back, or take the old state out of optimizer.state"
            )


def _replaced(p: Tensor, beside: Tensor, called: str) -> StateError:
    return StateError(
        f"a parameter has shape {tuple(p.shape)}, and its {called} {tuple(beside.shape)}: one of "
        f"them was replaced; {_AGAIN}"
    )
