"""What is kept beside a parameter: made when it is needed first, and its shapes looked at."""

from collections.abc import Sequence
from itertools import repeat
from operator import contains

import torch
from torch import Tensor

from lion_ports.config import LionConfig
from lion_ports.errors import StateError
from lion_ports.torch.arithmetic import compute_dtype
from lion_ports.torch.column import Column
from lion_ports.torch.jobs import Group, Slots
from lion_ports.torch.sharding import refuse_sharded
from lion_ports.torch.storage import CORRECTIONS, load_parameter, scale_count, zero_scales

# What has the shape of its parameter, and how it is called.
SHAPED = {
    "exp_avg": "momentum",
    "average": "average",
    "correction": "correction",
    "grad_sum": "sum of gradients",
}


def init_all(params: Column, slots: Sequence[Slots], group: Group, config: LionConfig) -> None:
    """:func:`init_slots` of many; quick where they need a momentum alone, and have it.

    Raises:
        StateError: what is in a state is no tensor, or one of another shape than its parameter or
            its state can have, of such a dtype, or without memory; or a part of a state is missing.
    """
    dtypes = set(params.dtypes)
    momenta_alone = set(map(len, slots)) <= {0, 1} and group["momentum_dtype"] != "int8"
    for name in ("exp_avg",) if momenta_alone else SHAPED:
        beside = Column(map(dict.get, slots, repeat(name), params))  # what is not there yet fits
        _refuse_misfits(params, beside, SHAPED[name])
        dtypes |= beside.dtypes
    if not (momenta_alone and all(dtype.is_floating_point for dtype in dtypes)):
        for p, kept in zip(params, slots, strict=True):
            _refuse_halves(kept)
            _refuse_small(p, kept)
            _refuse_momentum(p, kept.get("exp_avg", p))
    more = group["momentum_dtype"] == "int8" or group["correction_bits"]
    more = more or group["ema_decay"] is not None or config.gradient_accumulation_steps > 1
    if more or not all(map(contains, slots, repeat("exp_avg"))):
        for p, kept in zip(params, slots, strict=True):
            init_slots(p, kept, group, config)


def init_slots(p: Tensor, slots: Slots, group: Group, config: LionConfig) -> None:
    """Put in what a parameter needs beside it and does not have (L-002, L-016, L-025, L-029).

    Made from the parameter; what is complex stays complex.

    Raises:
        ConfigError: small state (L-031, L-032) of a DTensor.
    """
    refuse_sharded(p, group)
    if "exp_avg" not in slots:
        asked = None if p.is_complex() else group["momentum_dtype"]
        dtype = p.dtype if asked is None else getattr(torch, asked)
        slots["exp_avg"] = torch.zeros_like(p, dtype=dtype)
        if dtype == torch.int8:
            slots["exp_avg_scale"] = zero_scales(p)
    bits = group["correction_bits"]
    if bits and p.dtype == torch.bfloat16 and "correction" not in slots:
        slots["correction"] = torch.zeros_like(p, dtype=CORRECTIONS[bits])
    if config.gradient_accumulation_steps > 1 and not {"seen", "grad_sum"} <= slots.keys():
        slots["grad_sum"] = torch.zeros_like(p, dtype=_wide(p))
        slots["seen"] = torch.tensor(0, device="cpu")
    if group["ema_decay"] is not None and "average" not in slots:
        whole = load_parameter(p.detach(), slots.get("correction"))
        slots["average"] = whole.to(_wide(p), copy=True)


def _wide(p: Tensor) -> torch.dtype:
    return p.dtype if p.is_complex() else compute_dtype(p.dtype)


def _refuse_misfits(params: Column, beside: Column, called: str) -> None:
    """Raise a StateError if one is no tensor, has no memory, or not the shape of its parameter."""
    others = [kind for kind in set(map(type, beside)) if not issubclass(kind, Tensor)]
    if others:
        raise StateError(
            f"a {called} in a state is no tensor, but of {others[0]}; put one of the shape of its "
            "parameter there, or take the old state out of optimizer.state"
        )
    if not beside.in_memory:
        raise StateError(
            f"a {called} in a state has no memory, which was given back; have it there for a step, "
            "or take the old state out of optimizer.state"
        )
    if not params.same_shapes(beside):
        pairs = zip(params, beside, strict=True)
        raise _replaced(*next((p, t) for p, t in pairs if p.shape != t.shape), called)


def _refuse_momentum(p: Tensor, m: Tensor) -> None:
    """Raise a StateError if a momentum cannot be one of its parameter (L-002, L-031)."""
    due = m.is_complex() if p.is_complex() else m.is_floating_point() or m.dtype == torch.int8
    if not due:
        raise StateError(
            f"a momentum is of {m.dtype}, and its parameter of {p.dtype}: one of them was "
            "replaced; convert it back, or take the old state out of optimizer.state"
        )


def _refuse_halves(slots: Slots) -> None:
    """Raise a StateError if a part of a state is of no use without another, which is missing."""
    m, lost = slots.get("exp_avg"), None
    if m is not None and m.dtype == torch.int8 and "exp_avg_scale" not in slots:
        lost = "a momentum of int8 without its scales"
    if "seen" in slots and "grad_sum" not in slots and slots["seen"] > 0:
        lost = "seen gradients, and lost their sum"
    if lost is not None:
        raise StateError(
            f"a state has {lost}: a part of it was taken out; make a new optimizer, or take all "
            "of the old state out of optimizer.state"
        )


def _refuse_small(p: Tensor, slots: Slots) -> None:
    """Raise a StateError if scales or correction do not fit their parameter (L-031, L-032)."""
    scales, correction = slots.get("exp_avg_scale"), slots.get("correction")
    if scales is not None and scales.numel() != scale_count(p.numel()):
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
        "them was replaced; make a new optimizer, or take the old state out of optimizer.state"
    )
