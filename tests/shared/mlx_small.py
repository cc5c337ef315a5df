"""Runs of small state (L-031, L-032) in MLX, beside the reference."""

import numpy as np
import pytest
from small_state import LR

from lion_ports import LionConfig, reference
from lion_ports.conformance.bits import reals, same

mx = pytest.importorskip("mlx.core", reason="needs the extra 'mlx'")

from lion_ports.mlx import Lion  # noqa: E402
from lion_ports.mlx.state import from_numpy, to_numpy  # noqa: E402

SLOTS = {
    "m": "momentum",
    "m_scale": "momentum_scale",
    "correction": "correction",
    "average": "average",
}


def tensors(arrays):
    return {n: from_numpy(a) for n, a in arrays.items() if a is not None}


def held(optimizer):
    """All arrays of a state, by what they are and of which parameter."""
    slots = {n: s for n, s in optimizer.state.items() if isinstance(s, dict) and n != "lion"}
    return {of: {n: s[slot] for n, s in slots.items() if slot in s} for slot, of in SLOTS.items()}


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, expected in wanted.items():
        got = to_numpy(found[name])
        expected = expected if isinstance(expected, np.ndarray) else to_numpy(expected)
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape), name
        assert same(reals(got), reals(expected)).all(), name


def assert_step_is_due(xs, optimizer, params, state):
    assert_same(xs, params)
    for of, arrays in held(optimizer).items():
        assert_same(arrays, getattr(state, of))
    assert (optimizer.step.item(), optimizer.skipped) == (state.count, state.skipped)


def replay(params, grads, options, *, compiled):
    """Compare every array after every step with the reference; how often the step was traced."""
    config = LionConfig(LR, weight_decay=0.1, **options)
    state, optimizer, xs = reference.init(params, config), Lion(LR, weight_decay=0.1, **options), {}
    xs = tensors(params)
    optimizer.init(xs)
    traces = []

    def step(grads, xs):
        traces.append(None)
        return optimizer.apply_gradients(grads, xs)

    if compiled:
        step = mx.compile(step, inputs=optimizer.state, outputs=optimizer.state)
    for i, g in enumerate(grads):
        optimizer.learning_rate = lr = LR * 2.0**-i
        params, state = reference.step(params, g, state, config, lr=lr)
        xs |= step(tensors(g), xs)
        assert_step_is_due(xs, optimizer, params, state)
    return len(traces)


INT8 = {"momentum_dtype": "int8"}
AVERAGED = {"ema_decay": 0.75, "ema_overwrite_every": 3}
RUNS = [
    ("float32", INT8),
    ("float16", INT8),
    ("bfloat16", {"correction_bits": 8}),
    ("bfloat16", {"correction_bits": 16, **AVERAGED}),
    ("bfloat16", INT8 | {"correction_bits": 8}),
    ("bfloat16", INT8 | {"correction_bits": 8, "cautious": True, **AVERAGED}),
    ("bfloat16", INT8 | {"correction_bits": 16, "nonfinite": "skip", **AVERAGED}),
    ("bfloat16", INT8 | {"correction_bits": 8, "gradient_accumulation_steps": 2}),
]
