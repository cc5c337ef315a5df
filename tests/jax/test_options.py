"""Every option, eager and compiled, as fused step and as transform, against the reference."""

import ml_dtypes
import numpy as np
import pytest
from usual import slow

jax = pytest.importorskip("jax", reason="needs the extra 'jax'")
optax = pytest.importorskip("optax", reason="needs the extra 'jax'")
jnp = jax.numpy

from lion_ports import LionConfig, reference  # noqa: E402
from lion_ports.jax import fused_lion, lion  # noqa: E402

OPTIONS = {
    "none": {},
    "decay": {"weight_decay": 0.3},
    "decay-schedule": {"weight_decay": lambda count: (count % 3) / 4},
    "independent": {"weight_decay": 0.03, "decay": "independent", "lr_peak": 0.3},
    "maximize": {"maximize": True, "weight_decay": 0.3},
    "bfloat16-momentum": {"momentum_dtype": "bfloat16"},
    "float32-momentum": {"momentum_dtype": "float32"},
    "skip": {"nonfinite": "skip"},
    "cautious": {"cautious": True, "weight_decay": 0.3},
    "cautious-cap": {"cautious": True, "cautious_cap": 1.0},
    "cautious-decay": {"cautious_decay": True, "weight_decay": 0.3},
    "cautious-both": {"cautious": True, "cautious_decay": True, "weight_decay": 0.3},
    "clip": {"nonlinearity": "clip", "steepness": 0.3, "weight_decay": 0.3, "cautious": True},
    "l2": {"nonlinearity": "l2", "steepness": 0.5, "betas": (0.0, 0.0)},
    "clipvalue": {"clipvalue": 0.7},
    "clipnorm": {"clipnorm": 0.7},
    "global-clipnorm": {"global_clipnorm": 0.7},
    "accumulate": {"gradient_accumulation_steps": 3, "weight_decay": 0.3},
    "accumulate-scaled": {"gradient_accumulation_steps": 3, "loss_scale": 3.0},
    "accumulate-skip": {"gradient_accumulation_steps": 2, "nonfinite": "skip"},
    "ema": {"ema_decay": 0.9, "weight_decay": 0.3},
    "ema-accumulate": {"ema_decay": 0.9, "gradient_accumulation_steps": 2},
    "loss-scale": {"loss_scale": 3.0, "clipvalue": 0.3},
    "loss-scale-dynamic": {"loss_scale": "dynamic", "loss_scale_growth_interval": 2},
    "all": {
        "loss_scale": "dynamic",
        "loss_scale_growth_interval": 3,
        "gradient_accumulation_steps": 2,
        "clipvalue": 2.0**-16,
        "maximize": True,
        "cautious": True,
        "cautious_decay": True,
        "weight_decay": 0.3,
        "ema_decay": 0.9,
    },
}
LR = 2.0**-5 * 1.1
# `lion` refuses this one: test_settings.py
FUSED_ONLY = {"ema-overwrite": {"ema_decay": 0.9, "ema_overwrite_every": 2}}
DTYPES = {
    "float32": np.float32,
    "bfloat16": ml_dtypes.bfloat16,
    "float16": np.float16,
    "float64": np.float64,
    "complex64": np.complex64,
}


def stream(dtype, whole, steps=7):
    """Parameters, and gradients with zeros and a NaN, of a late parameter and for none of one.

    ``whole`` ones are small integers, whose sums of squares are exact in any order.
    """
    rng = np.random.Generator(np.random.Philox(9))
    shapes = {"w": (5, 7), "late": (11,), "never": (3,)}

    def draw(shape):
        a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        a = np.round(2 * a) if whole else a
        return np.asarray(a if np.issubdtype(dtype, np.complexfloating) else a.real).astype(dtype)

    params = {n: draw(s) for n, s in shapes.items()}
    grads = [{n: draw(s) for n, s in shapes.items()} for _ in range(steps)]
    for i, g in enumerate(grads):
        g["never"] = None
        g["w"][0, :3] = [0, -0.0, 1]
        if i % 3 == 0:
            g["late"] = None
    grads[-1]["w"][1, 1] = np.nan
    return params, grads


def fused(options):
    optimizer = fused_lion(LR, **options)
    return optimizer.init, optimizer.step


def transform(options):
    optimizer = lion(LR, **options)

    def step(params, grads, state):
        updates, state = optimizer.update(grads, state, params)
        with jax.numpy_dtype_promotion("standard"):
            return optax.apply_updates(params, updates), state

    return optimizer.init, step


def names(options):
    """The names of JAX for those of LionConfig."""
    options = dict(options)
    if "betas" in options:
        options["b1"], options["b2"] = options.pop("betas")
    if "momentum_dtype" in options:
        options["mu_dtype"] = options.pop("momentum_dtype")
    return options


# Where the transform does anything that the fused step does not do as well.
TRANSFORMED = ("decay", "skip", "cautious", "ema-accumulate", "all")
RUNS = [
    *((option, "float32", fused, 1) for option in OPTIONS | FUSED_ONLY),
    *((option, "float32", fused, 0) for option in ("none", "cautious", "l2")),
    *((option, "float32", transform, 1) for option in TRANSFORMED),
    *(("all", dtype, fused, 1) for dtype in ("float16", "float64", "complex64")),
    *((option, "bfloat16", fused, 1) for option in ("ema-overwrite", "accumulate", "l2")),
]
SLOW = [
    (option, dtype, make, jit)
    for option in OPTIONS | FUSED_ONLY
    for dtype in DTYPES
    for make in (fused, transform)
    for jit in (0, 1)
    if (option, dtype, make, jit) not in RUNS and (make is fused or option in OPTIONS)
]


@pytest.mark.parametrize(
    ("option", "dtype", "make", "compiled"),
    [*RUNS, *(slow(*run) for run in SLOW)],
)
def test_equals_the_reference(option, dtype, make, compiled, assert_same, strict):
    options = (OPTIONS | FUSED_ONLY)[option]
    params, gradients = stream(DTYPES[dtype], whole="clipnorm" in option or option == "l2")
    if "skip" in option or options.get("loss_scale") == "dynamic":
        gradients[1]["w"][2, 2] = np.inf
    config = LionConfig(LR, **options)
    due = reference.init(params, config)
    with jax.enable_x64(dtype == "float64"):
        init, step = make(names(options))
        step = jax.jit(step) if compiled else step
        mine = {n: jnp.asarray(x) for n, x in params.items()}
        state = init(mine)
        for grads in gradients:
            params, due = reference.step(params, grads, due, config, flush=True)
            mine, state = step(mine, jax.tree.map(jnp.asarray, grads), state)
            assert_same((mine, state.mu), (params, due.momentum))
            assert_same(state.average or {}, dict(due.average))
            assert_counters(state, due)


def assert_counters(state, due):
    """The scalars of both states, where the option is on."""
    assert (state.count, state.skipped) == (due.count, due.skipped)
    if state.loss_scale is not None:
        assert (state.loss_scale, state.good_steps) == (due.loss_scale, due.good_steps)
    if state.micro is not None:
        seen = dict(zip(sorted(state.mu), state.seen.tolist(), strict=True))
        assert (state.micro, {n: k for n, k in seen.items() if k}) == (due.micro, dict(due.seen))
