"""Learning rates: numbers, arrays, MLX's schedules, and their dtype."""

import math

import mlx.core as mx
import mlx.optimizers as optim
import pytest

from lion_ports import ConfigError
from lion_ports.mlx import Lion

SCHEDULES = {
    "exponential": optim.exponential_decay(0.5, 0.5),
    "step": optim.step_decay(0.5, 0.5, 2),
    "cosine": optim.cosine_decay(0.5, 4, end=0.125),
    "linear": optim.linear_schedule(0.0, 0.5, 4),
    "warm-up and cosine": optim.join_schedules(
        [optim.linear_schedule(0.0, 0.5, 2), optim.cosine_decay(0.5, 3)], [2]
    ),
    "python": lambda step: 0.5,
}


def rates(optimizer, compiled=False):
    """The learning rates of five updates by gradients of one."""
    x = {"w": mx.array([8.0])}
    optimizer.init(x)
    step = optimizer.apply_gradients
    if compiled:
        step = mx.compile(step, inputs=optimizer.state, outputs=optimizer.state)
    moves = []
    for _ in range(5):
        before = x["w"].item()
        x = step({"w": mx.ones(1)}, x)
        moves.append(before - x["w"].item())
    return moves


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_see_the_updates_done_before(name, compiled):
    schedule = SCHEDULES[name]
    wanted = [float(schedule(mx.array(n, mx.uint64))) for n in range(5)]
    assert rates(Lion(schedule), compiled) == pytest.approx(wanted, abs=2**-20)


def test_schedules_of_the_learning_rate_and_the_decay_count_updates_not_micro_steps():
    optimizer = Lion(
        optim.step_decay(0.5, 0.5, 1), weight_decay=lambda n: 1.0 * n, gradient_accumulation_steps=2
    )
    x = {"w": mx.array([2.0])}
    seen = []
    for _ in range(4):
        x = optimizer.apply_gradients({"w": mx.ones(1)}, x)
        seen.append(x["w"].item())
    assert seen == [2.0, 1.5, 1.5, 1.5 - 0.25 * (1 + 1 * 1.5)]


@pytest.mark.parametrize("rate", [0.5, mx.array(0.5), 1])
def test_a_learning_rate_may_be_a_number_or_an_array(rate):
    assert rates(Lion(rate)) == [float(rate)] * 5


def test_a_learning_rate_of_zero_moves_the_momentum_alone():
    optimizer = Lion(0.0, weight_decay=1.0)
    moved = optimizer.apply_gradients({"w": mx.ones(1)}, {"w": mx.ones(1)})
    assert moved["w"].item() == 1
    assert optimizer.state["w"]["m"].item() > 0


def test_float64_parameters_get_a_float64_learning_rate():
    optimizer = Lion(1e-4)
    optimizer.init({"w": mx.ones(1, mx.float64)})
    assert optimizer.learning_rate.item() == 1e-4
    optimizer.learning_rate = 0.1
    assert optimizer.learning_rate.item() == 0.1


def test_an_assigned_or_loaded_learning_rate_outlives_float64_parameters():
    parameters = {"w": mx.ones(1, mx.float64)}
    assigned = Lion(0.1)
    assigned.learning_rate = 0.3
    assert assigned.apply_gradients(parameters, parameters)["w"].item() == 0.7
    loaded = Lion(0.1)
    loaded.state = {**loaded.state, "learning_rate": mx.array(0.25)}
    assert loaded.apply_gradients(parameters, parameters)["w"].item() == 0.75


def test_nothing_is_float64_without_a_float64_parameter():
    optimizer = Lion(0.1, decay="independent", weight_decay=lambda n: 0.1, loss_scale="dynamic")
    optimizer.apply_gradients({"w": mx.ones(1)}, {"w": mx.ones(1)})
    leaves = [optimizer.learning_rate, *optimizer.state["lion"].values()]
    assert mx.float64 not in [leaf.dtype for leaf in leaves]


def test_the_peak_of_independent_decay_stays_while_the_rate_moves():
    optimizer = Lion(0.5, weight_decay=0.25, decay="independent")
    optimizer.learning_rate = 0.125
    moved = optimizer.apply_gradients({"w": mx.zeros(1)}, {"w": mx.ones(1)})
    assert moved["w"].item() == 1 - 0.125 * 0.5


def test_a_restored_peak_wins_over_the_constructor():
    settings = {"weight_decay": 0.25, "decay": "independent"}
    first = Lion(0.5, **settings)
    other = Lion(0.125, **settings)
    other.state = first.state
    moved = other.apply_gradients({"w": mx.zeros(1)}, {"w": mx.ones(1)})
    assert moved["w"].item() == 1 - 0.5 * 0.5


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, "fast", mx.array([1.0, 2.0])])
def test_a_bad_learning_rate_is_refused_when_it_is_assigned(bad):
    optimizer = Lion(0.5)
    with pytest.raises(ConfigError, match=r"learning_rate = .* is not a finite number >= 0"):
        optimizer.learning_rate = bad
    assert optimizer.learning_rate.item() == 0.5


def test_a_bad_number_from_a_schedule_is_refused():
    with pytest.raises(ConfigError, match="learning_rate = -1"):
        Lion(lambda step: -1)
    with pytest.raises(ConfigError, match=r"weight_decay = array\(-1"):
        Lion(weight_decay=lambda step: step.astype(mx.float32) - 1)
    with pytest.raises(ConfigError, match="weight_decay = -1"):
        Lion(weight_decay=lambda step: -1)
    later = Lion(weight_decay=lambda step: [0.5, -1][int(step)])
    later.apply_gradients({"w": mx.ones(1)}, {"w": mx.ones(1)})
    with pytest.raises(ConfigError, match="weight_decay = -1"):
        later.apply_gradients({"w": mx.ones(1)}, {"w": mx.ones(1)})
