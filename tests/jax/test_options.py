"""Every option, eager and compiled, as fused step and as transform, against the reference."""

import ml_dtypes
import numpy as np
import pytest

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
    "accumulate-skip": {"gradient_accumulation_steps": 2, "nonfinite": "skip"},
    "ema": {"ema_decay": 0.9, "weight_decay": 0.3},
    "ema-accumulate": {"ema_decay": 0.9, "gradient_accumulation_steps": 2},
    "ema-overwrite": {"ema_decay": 0.9, "ema_overwrite_every": 2},
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
EXACT_SUMS = ("clipnorm", "l2")  # where small integers make the order of a sum no matter
DTYPES = {
    "float32": np.float32,
    "bfloat16": ml_dtypes.bfloat16,
    "float16": np.float16,
    "float64": np.float64,
    "complex64": np.complex64,
}


def stream(dtype, whole, steps=7):
    """Parameters, and gradients with zeros, a late parameter, an absent one and an infinity."""
    rng = np.random.Generator(np.random.Philox(9))
    shapes = {"w": (5, 7), "late": (11,), "never": (3,), "scalar": (), "empty": (0, 2)}

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
    optimizer = fused_lion(2.0**-5 * 1.1, **options)
    return optimizer.init, optimizer.step


def transform(options):
    optimizer = lion(2.0**-5 * 1.1, **options)

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


def bits(array):
    """The bits of an array; one pattern for every NaN (L-010)."""
    array = np.atleast_1d(array)
    reals = array.view(array.real.dtype) if np.iscomplexobj(array) else array
    patterns = reals.view(f"u{reals.dtype.itemsize}")
    return np.where(np.isnan(reals), patterns.dtype.type(-1 % 2**16), patterns)


def assert_same(mine, due, what):
    assert (mine.shape, mine.dtype) == (due.shape, due.dtype), what
    np.testing.assert_array_equal(bits(np.asarray(mine)), bits(due), what)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [fused, transform])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("option", OPTIONS)
def test_equals_the_reference(option, compiled, make, dtype):
    options = OPTIONS[option]
    if make is transform and "ema_overwrite_every" in options:
        pytest.skip("lion refuses it, see test_settings.py")
    params, stream_ = stream(DTYPES[dtype], any(word in option for word in EXACT_SUMS))
    if "skip" in option or options.get("loss_scale") == "dynamic":
        stream_[1]["w"][2, 2] = np.inf
    config = LionConfig(2.0**-5 * 1.1, **options)
    due_state = reference.init(params, config)
    with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("strict"):
        init, step = make(names(options))
        step = jax.jit(step) if compiled else step
        mine = {n: jnp.asarray(x) for n, x in params.items()}
        state = init(mine)
        for i, g in enumerate(stream_):
            params, due_state = reference.step(params, g, due_state, config, flush=True)
            mine, state = step(
                mine, {n: a if a is None else jnp.asarray(a) for n, a in g.items()}, state
            )
            for n in params:
                assert_same(mine[n], params[n], f"step {i}: {n}")
                assert_same(state.mu[n], due_state.momentum[n], f"step {i}: momentum of {n}")
                if state.average is not None:
                    assert_same(state.average[n], due_state.average[n], f"step {i}: average {n}")
        assert (state.count, state.skipped) == (due_state.count, due_state.skipped)
        if state.loss_scale is not None:
            assert (state.loss_scale, state.good_steps) == (
                due_state.loss_scale,
                due_state.good_steps,
            )
        if state.micro is not None:
            assert state.micro == due_state.micro
            assert {
                n: k for n, k in zip(sorted(params), state.seen.tolist()) if k
            } == due_state.seen
