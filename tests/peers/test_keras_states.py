"""A run that began in Keras goes on in ours, and the other way, from the same arrays."""

import random

import pytest

INF = float("inf")
FOUR = {"gradient_accumulation_steps": 4}
OPTIONS = {
    "plain": ({}, {}),
    "weight_decay": ({"weight_decay": 0.5}, {"weight_decay": 0.5}),
    "schedule": ({}, {}),
    "accumulation": (FOUR, FOUR),
    "average": (
        {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 4},
        {"ema_decay": 0.5, "ema_overwrite_every": 4},
    ),
    "dynamic loss scale": (
        {"dynamic": {"dynamic_growth_steps": 2}},
        {"loss_scale": "dynamic", "loss_scale_growth_interval": 2},
    ),
}
# Gradients of whole numbers, with which no operation rounds, or of any.
WHOLE, ANY = "whole", "any"


def case(option, kind, dtype):
    """Five steps or nine, of which three or six come before the handover."""
    number, handover = (9, 6) if option == "accumulation" else (5, 3)
    numbers = random.Random(0)
    draw = (lambda: numbers.choice([-2, 1, 3])) if kind == WHOLE else (lambda: numbers.gauss(0, 1))
    scale = 2.0**15 if option == "dynamic loss scale" else 1.0
    steps = [{"kernel": [scale * draw() for _ in range(4)], "bias": [scale]} for _ in range(number)]
    if option == "dynamic loss scale":
        steps[1]["bias"] = [INF]
    keras, ours = OPTIONS[option]
    return {
        "x": {"kernel": [1.0, -2.0, 0.5, 3.0], "bias": [-1.0]},
        "steps": steps,
        "lr": "halving" if option == "schedule" else 0.25,
        "betas": [0.5, 0.75] if kind == WHOLE else [0.9, 0.99],
        "dtype": dtype,
        "handover": handover,
        "keras": keras,
        "ours": ours,
    }


CASES = {
    f"{option}, {kind} numbers, {dtype}": case(option, kind, dtype)
    for option in OPTIONS
    for kind, dtype in ((WHOLE, "float32"), (ANY, "bfloat16"))
}
WHOLE_CASES = [name for name in CASES if f"{WHOLE} numbers" in name]


@pytest.fixture(scope="module")
def pairs(backend, worker):
    return worker("states.py", backend, CASES)


@pytest.mark.parametrize("pair", ["Keras to Keras", "Keras to ours, and the specification"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_optimizer_from_the_same_arrays(name, pair, pairs):
    one, other = pairs[name][pair]
    assert repr(other) == repr(one)  # in which zeros have signs
    assert one["count"] >= 2


@pytest.mark.parametrize("pair", ["Keras to ours", "ours to Keras"])
@pytest.mark.parametrize("name", WHOLE_CASES)
def test_the_other_optimizer_from_the_same_arrays(name, pair, pairs):
    one, other = pairs[name][pair]
    for state in (one, other):
        del state["skipped"]  # which Keras does not count
    assert repr(other) == repr(one)
