"""The state of one parameter and of the whole, and what a step makes of them."""

import mlx.core as mx

from lion_ports.config import LOSS_SCALE_INITIAL, LionConfig
from lion_ports.mlx import gpu_small
from lion_ports.mlx.arithmetic import compute_dtype, narrow, select
from lion_ports.mlx.joined import Update
from lion_ports.mlx.storage import (
    CORRECTIONS,
    load_momentum,
    load_parameter,
    store_momentum,
    store_parameter,
    zero_scales,
)
from lion_ports.mlx.trees import Slots
from lion_ports.mlx.update import average, move


def init_counters(state: Slots, config: LionConfig) -> None:
    """Put in the scalars that the options need and the state does not have."""
    if config.skips:
        state.setdefault("skipped", mx.array(0, mx.uint64))
    if config.gradient_accumulation_steps > 1:
        state.setdefault("micro", mx.array(0, mx.int32))
    if config.dynamic:
        state.setdefault("loss_scale", mx.array(LOSS_SCALE_INITIAL, mx.float32))
        state.setdefault("good_steps", mx.array(0, mx.int32))


def init_slots(x: mx.array, slots: Slots, config: LionConfig) -> None:
    """Put in what a parameter needs beside it and does not have (L-002, L-025, L-029)."""
    is_complex = x.dtype == mx.complex64
    wide = x.dtype if is_complex else compute_dtype(x.dtype)
    if "m" not in slots:
        asked = None if is_complex else config.momentum_dtype  # L-016
        slots["m"] = mx.zeros(x.shape, x.dtype if asked is None else getattr(mx, asked))
        if asked == "int8":
            slots["m_scale"] = zero_scales(slots["m"])
    if config.correction_bits and x.dtype == mx.bfloat16 and "correction" not in slots:
        slots["correction"] = mx.zeros(x.shape, CORRECTIONS[config.correction_bits == 16])
    if config.gradient_accumulation_steps > 1 and "seen" not in slots:
        slots["grad_sum"] = mx.zeros(x.shape, wide)
        slots["seen"] = mx.array(0, mx.int32)
    if config.ema_decay is not None and "average" not in slots:
        slots["average"] = x.astype(wide)


def updated(update: Update, count: mx.array, *, one_kernel: bool) -> mx.array:
    """The new parameter; its slots are brought forward.

    Args:
        update: what it is made of.
        count: updates done, this one included.
        one_kernel: whether that is made as one kernel.
    """
    _, x, g, slots, group, scalars, moves, places = update
    config = group.config
    g = -g if config.maximize else g  # L-018
    before = count - 1
    if gpu_small.takes(group.rule, x, g, slots):
        x = gpu_small.move(x, g, slots, scalars, before, moves)
    else:
        whole, m = load_parameter(x, slots), load_momentum(slots)
        new, new_m = move(whole, g, m, scalars, group.rule, one_kernel=one_kernel)
        x = store_parameter(new, x, slots, before, moves, places)
        store_momentum(new_m, slots, before, moves, places)
    if config.ema_decay is None:
        return x
    whole = load_parameter(x, slots)
    new_e = average(slots["average"], whole, config.ema_decay)
    slots["average"] = select(moves, new_e, slots["average"])
    if config.ema_overwrite_every is None:
        return x
    due = count % config.ema_overwrite_every == 0
    overwrites = due if moves is None else due & moves
    return store_parameter(as_parameter(new_e, whole), x, slots, before, overwrites, places)


def as_parameter(e: mx.array, x: mx.array) -> mx.array:
    """An average in the dtype of its parameter (L-029)."""
    return e if x.dtype == mx.complex64 else narrow(e, x.dtype)
