"""Frozen modules and LoRA layers."""

import math

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from lion_ports.mlx import Lion


class LoRA(nn.Module):
    """A frozen linear layer with a trained update of low rank beside it."""

    def __init__(self, linear, rank=2):
        super().__init__()
        out, inner = linear.weight.shape
        self.linear = linear.freeze()
        self.a = mx.random.normal((inner, rank)) / math.sqrt(inner)
        self.b = mx.zeros((rank, out))

    def __call__(self, x):
        return self.linear(x) + x @ self.a @ self.b


def adapted():
    mx.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    model.freeze()
    model.layers[0], model.layers[2] = LoRA(model.layers[0]), LoRA(model.layers[2])
    return model


def paths(tree):
    return [path for path, _ in tree_flatten(tree)]


def test_a_frozen_layer_has_no_state_and_does_not_move():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model.layers[0].freeze()
    frozen, optimizer = mx.array(model.layers[0].weight), Lion(0.5, weight_decay=1.0)
    x = mx.ones((3, 2))
    for _ in range(2):
        _, grads = nn.value_and_grad(model, lambda x: model(x).square().sum())(x)
        optimizer.update(model, grads)
    assert mx.array_equal(model.layers[0].weight, frozen)
    assert [path for path in paths(optimizer.state) if "layers.0" in path] == []


def test_a_layer_that_is_thawed_begins_with_a_zero_momentum():
    model, optimizer = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), Lion(0.5, betas=(0.5, 0.5))
    optimizer.update(model, {"layers": [{}, {"bias": mx.ones(1)}]})
    before = mx.array(model.layers[0].bias)
    optimizer.update(model, {"layers": [{"bias": mx.ones(2)}, {"bias": mx.ones(1)}]})
    first, second = optimizer.state["layers"]
    assert (first["bias"]["m"].tolist(), second["bias"]["m"].tolist()) == ([0.5, 0.5], [0.75])
    assert mx.array_equal(model.layers[0].bias, before - 0.5)


def test_lora_trains_the_adapters_alone_in_a_compiled_step():
    model, optimizer = adapted(), Lion(2.0**-5, ema_decay=0.9, cautious=True)
    optimizer.init(model.trainable_parameters())
    assert paths(model.trainable_parameters()) == [
        "layers.0.a",
        "layers.0.b",
        "layers.2.a",
        "layers.2.b",
    ]
    frozen = mx.array(model.layers[0].linear.weight)
    x = mx.random.normal((32, 4))
    y = x.sum(-1, keepdims=True)

    def loss(x, y):
        return nn.losses.mse_loss(model(x), y)

    def step(x, y):
        value, grads = nn.value_and_grad(model, loss)(x, y)
        optimizer.update(model, grads)
        return value

    state = [model.state, optimizer.state]
    compiled = mx.compile(step, inputs=state, outputs=state)
    losses = [compiled(x, y).item() for _ in range(60)]
    assert losses[-1] < losses[0] / 2
    assert mx.array_equal(model.layers[0].linear.weight, frozen)
    with optimizer.averaged(model):
        assert loss(x, y).item() < losses[0] / 2
