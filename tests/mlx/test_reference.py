"""Every option, bit for bit as in lion_ports.reference, eager and inside mx.compile."""

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from lion_ports import LionConfig, reference
from lion_ports.conformance.bits import reals, same
from lion_ports.mlx import Lion
from lion_ports.mlx.state import from_numpy, to_numpy

LR = 2.0**-7
SHAPES = {"matrix": (37, 11), "row": (129,), "scalar": (), "empty": (0, 3)}
DTYPES = ["float32", "bfloat16", "float16", "float64", "complex64"]
OPTIONS = {
    "plain": {},
    "decay": {"weight_decay": 0.3},
    "independent": {"weight_decay": 0.01, "decay": "independent", "lr_peak": 0.02},
    "no-independent-decay": {"decay": "independent", "lr_peak": 0.02},
    "decay-schedule": {"weight_decay": lambda n: 0.125 * (n % 2)},
    "momentum": {"momentum_dtype": "bfloat16"},
    "maximize": {"maximize": True, "weight_decay": 0.1},
    "cautious": {"cautious": True},
    "cautious-cap": {"cautious": True, "cautious_cap": 1.3, "weight_decay": 0.3},
    "cautious-decay": {"cautious_decay": True, "weight_decay": 0.3},
    "cautious-independent": {
        "cautious": True,
        "cautious_decay": True,
        "weight_decay": lambda n: 0.125 * (n % 2),
        "decay": "independent",
        "lr_peak": 0.02,
    },
    "clip": {"nonlinearity": "clip", "steepness": 1.7},
    "clip-cautious": {"nonlinearity": "clip", "cautious": True, "cautious_decay": True},
    "clipvalue": {"clipvalue": 0.3},
    "skip": {"nonfinite": "skip"},
    "loss-scale": {"loss_scale": 3.0},
    "dynamic": {"loss_scale": "dynamic", "loss_scale_growth_interval": 2},
    "accumulate": {"gradient_accumulation_steps": 3, "weight_decay": 0.1},
    "accumulate-skip": {"gradient_accumulation_steps": 2, "nonfinite": "skip", "clipvalue": 0.3},
    "average": {"ema_decay": 0.7},
    "overwrite": {"ema_decay": 0.7, "ema_overwrite_every": 2},
    "everything": {
        "weight_decay": lambda n: 0.5 ** (n + 2),
        "cautious": True,
        "cautious_decay": True,
        "gradient_accumulation_steps": 2,
        "ema_decay": 0.7,
        "ema_overwrite_every": 2,
        "loss_scale": "dynamic",
        "loss_scale_growth_interval": 3,
    },
}


def array(rng, shape, dtype):
    if dtype == "complex64":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    return np.asarray(rng.standard_normal(shape)).astype(
        ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    )


def stream(dtype, shapes):
    """Parameters, and gradients of 7 steps with zeros, gaps and once an infinity."""
    rng = np.random.default_rng(0)
    params = {name: array(rng, shape, dtype) for name, shape in shapes.items()}
    steps = []
    for i in range(7):
        grads = {name: array(rng, shape, dtype) for name, shape in shapes.items()}
        grads["matrix"][::3] = 0
        if i == 2:
            grads["row"][5] = np.inf
        if i in (1, 4):
            grads["row"] = None
        steps.append(grads)
    return params, steps


def assert_same(found, expected):
    for name, wanted in expected.items():
        got = to_numpy(found[name])
        assert got.dtype == wanted.dtype, name
        assert same(reals(got), reals(wanted)).all(), name


def replay(dtype, option, *, compiled=False, shapes=SHAPES):
    """Compare every array after every step of a stream."""
    params, steps = stream(dtype, shapes)
    config = LionConfig(LR, (0.9, 0.99), **{"weight_decay": 0.0, **OPTIONS[option]})
    optimizer = Lion(LR, **OPTIONS[option])
    xs = {name: from_numpy(x) for name, x in params.items()}
    optimizer.init(xs)
    step = optimizer.apply_gradients
    if compiled:
        step = mx.compile(step, inputs=optimizer.state, outputs=optimizer.state)
    state = reference.init(params, config)
    for grads in steps:
        params, state = reference.step(params, grads, state, config)
        xs |= step({n: from_numpy(g) for n, g in grads.items() if g is not None}, xs)
        assert_same(xs, params)
        assert_same({n: optimizer.state[n]["m"] for n in xs}, state.momentum)
        assert_same({n: optimizer.state[n].get("average") for n in xs}, state.average)
        assert optimizer.step.item() == state.count
        assert optimizer.skipped == state.skipped
        if config.dynamic:
            assert optimizer.loss_scale.item() == state.loss_scale


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_option_eager(dtype, option):
    replay(dtype, option)


@pytest.mark.parametrize("option", ["plain", "accumulate-skip", "clip-cautious", "everything"])
def test_some_options_compiled(option):
    replay("float32", option, compiled=True)


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_option_compiled(dtype, option):
    replay(dtype, option, compiled=True)


# So many elements are updated by kernels, eager as well: large parameters in turn, or many small.
LARGE = {"matrix": (203, 101), "row": (20_011,)}
MANY = {"matrix": (37, 11), "row": (129,), **{f"row{i}": (211,) for i in range(80)}}


@pytest.mark.parametrize(("dtype", "option"), [("float32", "everything"), ("bfloat16", "plain")])
def test_large_parameters(dtype, option):
    replay(dtype, option, shapes=LARGE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_many_small_parameters(dtype):
    replay(dtype, "decay", shapes=MANY)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_option_of_large_parameters(dtype, option, compiled):
    replay(dtype, option, shapes=LARGE, compiled=compiled)
