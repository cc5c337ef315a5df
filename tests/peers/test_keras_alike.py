"""Keras' Lion and ours, option by option: where the two are one optimizer."""

import random

import numpy as np
import pytest

INF = float("inf")


def case(keras, ours, **more):
    return EXACT | {"keras": keras, "ours": ours} | more


def whole(seed, steps=6):
    """Gradients of small whole numbers, zeros among them."""
    numbers = random.Random(seed)
    shapes = {"kernel": (2, 2), "bias": (2,)}
    return [
        {
            name: np.reshape(numbers.choices(range(-4, 5), k=np.prod(shape)), shape).tolist()
            for name, shape in shapes.items()
        }
        for _ in range(steps)
    ]


# With such settings and gradients no operation of either rounds, so that both must have the same
# bits, whatever the order in which they compute.
EXACT = {
    "lr": 0.25,
    "betas": [0.5, 0.75],
    "x": {"kernel": [[1.0, -2.0], [0.5, 4.0]], "bias": [0.0, -1.0]},
    "steps": whole(0),
}
# The norms of the two gradients are 5 and 0, then 2 and 2, then 1 and 0.
NORMS = [
    {"kernel": [[3, 0], [-4, 0]], "bias": [0, 0]},
    {"kernel": [[1, 1], [-1, 1]], "bias": [2, 0]},
    {"kernel": [[0, 1], [0, 0]], "bias": [0, 0]},
]
# The norm of both together is 4, then 2, then 1.
TOGETHER = [
    {"kernel": [[2, 2], [-2, 0]], "bias": [0, 2]},
    {"kernel": [[1, 1], [-1, 0]], "bias": [0, 1]},
    {"kernel": [[0, 1], [0, 0]], "bias": [0, 0]},
]
LATE = [{"kernel": [[1, -1], [2, 0]], "bias": None}, *whole(1, 3)]
OVERFLOW = [*whole(2, 2), {"kernel": [[INF, 0], [1, 1]], "bias": [1, 1]}, *whole(3, 4)]

DECAY = {"weight_decay": 0.5}
TWO, FOUR = {"gradient_accumulation_steps": 2}, {"gradient_accumulation_steps": 4}
GROWS = {"loss_scale": "dynamic", "loss_scale_growth_interval": 2}

EXACT_CASES = {
    "plain": case({}, {}),
    "no rate": case({}, {}, lr=0.0),
    "schedule": case({}, {}, lr="halving"),
    "weight_decay": case(DECAY, DECAY),
    "exclude_from_weight_decay": case(DECAY, DECAY, exclude=["bias"]),
    "a gradient is missing": case(DECAY, DECAY, steps=LATE),
    "clipvalue": case({"clipvalue": 1.0}, {"clipvalue": 1.0}),
    "clipnorm": case({"clipnorm": 2.5}, {"clipnorm": 2.5}, steps=NORMS),
    "global_clipnorm": case({"global_clipnorm": 2.0}, {"global_clipnorm": 2.0}, steps=TOGETHER),
    "accumulation": case(TWO | DECAY, TWO | DECAY),
    "accumulation, then clipvalue": case(FOUR | {"clipvalue": 0.5}, FOUR | {"clipvalue": 0.5}),
    "average": case({"use_ema": True, "ema_momentum": 0.5}, {"ema_decay": 0.5}, handover=1),
    "average that overwrites": case(
        {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
        {"ema_decay": 0.5, "ema_overwrite_every": 2},
        handover=1,
    ),
    "loss scale, then clipvalue": case(
        {"loss_scale_factor": 8.0, "clipvalue": 0.25}, {"loss_scale": 8.0, "clipvalue": 0.25}
    ),
    "dynamic loss scale": case({"dynamic": {"dynamic_growth_steps": 2}}, GROWS, steps=OVERFLOW),
    "dynamic loss scale of sums": case(
        {"dynamic": {"dynamic_growth_steps": 2}} | TWO, GROWS | TWO, steps=OVERFLOW
    ),
}


def of_one_sign(seed, steps=12):
    """Gradients in which each element keeps its sign, so that nothing cancels."""
    numbers = random.Random(seed)
    return [{"w": [sign * (0.5 + numbers.random()) for sign in (1, -1) * 16]} for _ in range(steps)]


ORDINARY = {
    "lr": 0.01,
    "betas": [0.9, 0.99],
    "x": {"w": [2.0 + x for x in of_one_sign(4, 1)[0]["w"]]},
    "steps": of_one_sign(5),
}
EMA = {"use_ema": True, "ema_momentum": 0.9}
ROUNDED_CASES = {
    f"rounded: {name}": ORDINARY | {"keras": keras, "ours": ours} | more
    for name, (keras, ours, more) in {
        "plain": ({}, {}, {}),
        "weight_decay": ({"weight_decay": 0.1}, {"weight_decay": 0.1}, {}),
        "clipvalue": ({"clipvalue": 0.7}, {"clipvalue": 0.7}, {}),
        "clipnorm": ({"clipnorm": 0.7}, {"clipnorm": 0.7}, {}),
        "global_clipnorm": ({"global_clipnorm": 0.7}, {"global_clipnorm": 0.7}, {}),
        "accumulation": (
            {"gradient_accumulation_steps": 3},
            {"gradient_accumulation_steps": 3},
            {},
        ),
        "loss scale": ({"loss_scale_factor": 10.0}, {"loss_scale": 10.0}, {}),
        "average": (EMA, {"ema_decay": 0.9}, {"handover": 1}),
    }.items()
}
CASES = EXACT_CASES | ROUNDED_CASES


def both(runs, name):
    """The states after the steps that both have made."""
    theirs, ours = runs[name]["keras"], runs[name]["ours"]
    return theirs[len(theirs) - len(ours) :], ours


@pytest.mark.parametrize("name", EXACT_CASES)
def test_the_same_bits_where_nothing_rounds(name, runs):
    theirs, ours = both(runs, name)
    for state in (*theirs, *ours):
        del state["skipped"]  # which Keras does not count
    assert repr(ours) == repr(theirs)  # in which zeros have signs
    assert ours[-1]["m"] != ours[0]["m"]


@pytest.mark.parametrize("name", ROUNDED_CASES)
def test_a_few_roundings_apart_where_both_round(name, runs):
    """Parameters are equal but for decay, which Keras puts before the step: x*(1 - lr*wd) - lr*u.

    In a step, each of the two rounds what is compared at most five times, by at most 2**-24 of it.
    Besides, a norm may be off by half of that for each of the 32 squares that it sums; and on JAX
    Keras forms 1-b in float32, which is off by 16 times that at b = 0.99.
    """
    theirs, ours = both(runs, name)
    for steps, (their, our) in enumerate(zip(theirs, ours, strict=True), start=2):
        for kind in ("x", "m", "average"):
            for a, b in zip(their[kind].values(), our[kind].values(), strict=True):
                exact = kind == "x" and "weight_decay" not in name
                shares = 0 if exact else 2 * 5 * steps + 2 * 16 + 16
                np.testing.assert_allclose(a, b, rtol=shares * 2**-24, atol=0)
