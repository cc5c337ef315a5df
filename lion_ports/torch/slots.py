"""What is kept beside a parameter, made when it is needed first."""

import torch
from torch import Tensor

from lion_ports.config import LionConfig
from lion_ports.torch.arithmetic import compute_dtype
from lion_ports.torch.column import Column
from lion_ports.torch.jobs import Group
from lion_ports.torch.misfits import refuse_misfits
from lion_ports.torch.sharding import refuse_sharded
from lion_ports.torch.states import Slots, States
from lion_ports.torch.storage import CORRECTIONS, load_parameter, zero_scales


def init_all(params: Column, states: States, group: Group, config: LionConfig) -> None:
    """:func:`init_slots` of many; quick where they need a momentum alone, and have it.

    Raises:
        StateError: what is in a state is no tensor, or one of another shape than its parameter or
            its state can have, of such a dtype, or without memory; or a part of a state is missing.
    """
    momenta_alone = set(map(len, states)) <= {0, 1} and group["momentum_dtype"] != "int8"
    refuse_misfits(params, states, momenta_alone=momenta_alone)
    more = group["momentum_dtype"] == "int8" or group["correction_bits"]
    more = more or group["ema_decay"] is not None or config.gradient_accumulation_steps > 1
    if more or states.column("exp_avg") is None:
        for p, kept in zip(params, states, strict=True):
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
