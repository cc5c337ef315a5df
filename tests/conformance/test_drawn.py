"""Hypothesis draws settings and streams; every backend must stay bitwise the reference."""

from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lion_ports.config import LionConfig
from lion_ports.conformance.adapters import adapt, find
from lion_ports.conformance.bits import DTYPES
from lion_ports.conformance.execution import UNSUPPORTED, run_case
from lion_ports.conformance.trial import Case, Step, Trial, generator

BACKENDS = ["numpy", "torch", "jax", "mlx"]

WORDS = {
    "momentum_dtype": [None, "float32", "bfloat16"],
    "maximize": [False, True],
    "nonfinite": ["propagate", "skip"],
    "nonlinearity": ["sign", "sign", "clip", "tanh", "l2"],
    "decay": ["coupled", "independent"],
    "cautious": [False, True],
    "cautious_decay": [False, True],
    "loss_scale": [None, None, 1000.0, "dynamic"],
    "gradient_accumulation_steps": [1, 1, 2, 3],
    "ema_decay": [None, 0.9, 0.999],
    "clip": [None, None, "clipvalue", "clipnorm", "global_clipnorm"],
    "weight_decay": [0.0, 0.1, 1.0, 30.0],
    "betas": [(0.9, 0.99), (0.95, 0.98), (0.0, 0.0), (0.0, 0.99), (0.99, 0.9), (0.5, 0.999)],
}


@st.composite
def configs(draw):
    """Any settings that fit together."""
    chosen = {name: draw(st.sampled_from(words)) for name, words in WORDS.items()}
    bound = chosen.pop("clip")
    if bound is not None:
        chosen[bound] = draw(st.sampled_from([0.5, 2.0]))
    if chosen["nonlinearity"] != "sign":
        chosen["steepness"] = draw(st.sampled_from([0.5, 1.0, 3.0]))
    if chosen["cautious"]:
        chosen["cautious_cap"] = draw(st.sampled_from([1.0, 2.0, 10.0]))
    if chosen["decay"] == "independent":
        chosen["lr_peak"] = draw(st.sampled_from([1e-2, 1.0]))
        chosen["weight_decay"] = min(chosen["weight_decay"], 1.0)  # more than 2 would explode
    if chosen["ema_decay"] is not None:
        chosen["ema_overwrite_every"] = draw(st.sampled_from([None, None, 1, 3]))
    if chosen["loss_scale"] == "dynamic":
        chosen["loss_scale_growth_interval"] = draw(st.sampled_from([1, 3]))
    return LionConfig(lr=1e-2, **chosen)


def numbers(rng, shape, dtype):
    """Of all magnitudes, with zeros of either sign."""
    values = rng.standard_normal(shape) * np.exp2(rng.integers(-12, 6, shape))
    values = np.where(rng.random(shape) < 0.1, np.where(rng.random(shape) < 0.5, 0.0, -0.0), values)
    return np.asarray(values).astype(DTYPES[dtype])


def gradient(rng, shape, dtype, config):
    """Sometimes missing, or not finite where that moves nothing else (a norm would spread it)."""
    if rng.random() < 0.05:
        return None
    g = numbers(rng, shape, dtype)
    local = config.clipnorm is None and config.global_clipnorm is None
    if local and config.nonlinearity != "l2" and g.size and rng.random() < 0.02:
        g.reshape(-1)[rng.integers(g.size)] = rng.choice([np.nan, np.inf, -np.inf])
    return g


@st.composite
def trials(draw, steps):
    """Some parameters of any shapes and dtypes, under any settings."""
    config, rng = draw(configs()), generator(draw(st.integers(0, 2**32 - 1)))
    shapes = draw(
        st.lists(st.sampled_from([(), (1,), (3, 5), (17,), (2, 3, 4)]), min_size=1, max_size=3)
    )
    dtypes = [draw(st.sampled_from(["float32", "bfloat16", "float16", "float64"])) for _ in shapes]
    named = {f"p{i}": pair for i, pair in enumerate(zip(shapes, dtypes, strict=True))}
    params = {n: numbers(rng, *pair) for n, pair in named.items()}
    count = draw(st.integers(steps // 2, steps))
    rates = rng.choice([0.0, 1e-4, 3e-3, 2.0**-7, 1e-2], count)
    stream = [
        Step({n: gradient(rng, *pair, config) for n, pair in named.items()}, float(lr))
        for lr in rates
    ]
    return Trial(params, stream, config)


@cache
def adapter(impl):
    return adapt(find(impl, {}, {}))


def check(impl, examples, steps):
    """Run so many drawn trials, of so many steps at most; the number of steps that were made."""
    made = 0

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(trials(steps))
    def bitwise(trial):
        nonlocal made
        case = Case("basic-drawn", "L-001", "Drawn.", lambda: trial)
        result = run_case(case, adapter(impl).make, "bitwise", flush=adapter(impl).flushes)
        assert not result.failed, result.detail
        assert result.outcome != UNSUPPORTED, result.detail
        made += len(trial.steps)

    bitwise()
    return made


# Fewer where any settings are compiled anew.
EXAMPLES = {"numpy": 25, "torch": 8, "jax": 8, "mlx": 25}


@pytest.mark.parametrize("impl", BACKENDS)
def test_drawn_streams_are_bitwise(impl):
    pytest.importorskip(impl, reason=f"needs the extra {impl!r}")
    assert check(impl, examples=EXAMPLES[impl], steps=20) > 100


@pytest.mark.slow
@pytest.mark.parametrize("impl", BACKENDS)
def test_a_hundred_thousand_drawn_steps_are_bitwise(impl):
    pytest.importorskip(impl, reason=f"needs the extra {impl!r}")
    assert check(impl, examples=850, steps=200) >= 100_000
