"""Micro-steps, and parameters that lack a gradient in some of them."""

import mlx.core as mx
import mlx.nn as nn

from lion_ports.mlx import Lion


def test_the_update_is_that_of_the_mean():
    x, one = {"w": mx.zeros(3)}, {"w": mx.zeros(3)}
    optimizer, whole = Lion(0.5, gradient_accumulation_steps=2), Lion(0.5)
    a, b = mx.array([1.0, -2.0, 4.0]), mx.array([1.0, -2.0, -4.0])
    x = optimizer.apply_gradients({"w": a}, x)
    assert (x["w"].tolist(), optimizer.step.item()) == ([0, 0, 0], 0)
    x = optimizer.apply_gradients({"w": b}, x)
    one = whole.apply_gradients({"w": (a + b) / 2}, one)
    assert x["w"].tolist() == one["w"].tolist() == [-0.5, 0.5, 0]
    assert mx.array_equal(optimizer.state["w"]["m"], whole.state["w"]["m"])


def test_a_gradient_of_an_earlier_micro_step_is_not_forgotten():
    optimizer = Lion(0.5, gradient_accumulation_steps=2, weight_decay=1.0)
    x = {"a": mx.ones(1), "b": mx.ones(1), "c": mx.ones(1)}
    optimizer.init(x)
    x |= optimizer.apply_gradients({"a": mx.ones(1)}, x)
    x |= optimizer.apply_gradients({"b": mx.ones(1)}, x)
    assert [x[name].item() for name in "abc"] == [0, 0, 1]


def test_in_a_model_as_well():
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
    before = [mx.array(layer.weight) for layer in model.layers[::2]]
    optimizer = Lion(0.5, gradient_accumulation_steps=2)
    optimizer.update(model, {"layers": [{"weight": mx.ones((1, 2))}]})
    optimizer.update(model, {"layers": [{}, {}, {"weight": mx.ones((1, 1))}]})
    for weight, layer in zip(before, model.layers[::2], strict=True):
        assert mx.array_equal(layer.weight, weight - 0.5)


def test_a_micro_step_that_is_skipped_does_not_count():
    optimizer = Lion(0.5, gradient_accumulation_steps=2, nonfinite="skip")
    x = {"w": mx.ones(1)}
    for g in (1.0, float("nan"), 1.0):
        x = optimizer.apply_gradients({"w": mx.array([g])}, x)
    assert (x["w"].item(), optimizer.step.item(), optimizer.skipped) == (0.5, 1, 1)
