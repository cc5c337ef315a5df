"""Our Lion beside other optimizers in MLX's MultiOptimizer."""

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from lion_ports.mlx import Lion


def model():
    mx.random.seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def multi(**options):
    return optim.MultiOptimizer(
        [Lion(0.5, **options), optim.AdamW(0.5)], [lambda path, x: path.endswith("weight")]
    )


def ones():
    return tree_map(mx.ones_like, model().trainable_parameters())


def test_each_optimizer_has_its_part():
    network, optimizer = model(), multi()
    before = network.parameters()
    optimizer.init(network.trainable_parameters())
    optimizer.update(network, ones())
    lion, adam = (dict(tree_flatten(o.state)) for o in optimizer.optimizers)
    assert [path for path in lion if path.endswith(".m")] == [
        "layers.0.weight.m",
        "layers.1.weight.m",
        "layers.2.weight.m",
    ]
    assert "layers.0.bias.v" in adam
    moved = network.parameters()["layers"][2]["weight"]
    assert mx.array_equal(moved, before["layers"][2]["weight"] - 0.5)


def test_it_is_lion_alone_on_the_same_parameters():
    network, optimizer = model(), multi(gradient_accumulation_steps=2, ema_decay=0.5)
    alone, lion = model(), Lion(0.5, gradient_accumulation_steps=2, ema_decay=0.5)
    for _ in range(4):
        optimizer.update(network, ones())
        lion.update(alone, ones())
    for one, other in zip(network.layers, alone.layers, strict=True):
        assert mx.array_equal(one.weight, other.weight)
    with optimizer.optimizers[0].averaged(network), lion.averaged(alone):
        assert mx.array_equal(network.layers[0].weight, alone.layers[0].weight)


def test_the_learning_rate_reaches_all():
    optimizer = multi()
    optimizer.learning_rate = 0.25
    assert [o.learning_rate.item() for o in optimizer.optimizers] == [0.25, 0.25]


def test_the_state_is_saved_and_loaded(tmp_path):
    network, optimizer = model(), multi(nonfinite="skip", ema_decay=0.5)
    optimizer.update(network, ones())
    path = str(tmp_path / "state.safetensors")
    mx.save_safetensors(path, dict(tree_flatten(optimizer.state)))
    other, again = model(), multi(nonfinite="skip", ema_decay=0.5)
    other.update(network.parameters())
    again.state = tree_unflatten(list(mx.load(path).items()))
    optimizer.update(network, ones())
    again.update(other, ones())
    wanted, found = (dict(tree_flatten(o.state)) for o in (optimizer, again))
    assert all(mx.array_equal(leaf, found[path]) for path, leaf in wanted.items())


def test_in_a_compiled_step():
    network, optimizer = model(), multi(loss_scale="dynamic")
    optimizer.init(network.trainable_parameters())
    traces = []

    def step(x):
        traces.append(None)
        value, grads = nn.value_and_grad(network, lambda x: network(x).square().sum())(x)
        optimizer.update(network, grads)
        return value

    state = [network.state, optimizer.state]
    compiled = mx.compile(step, inputs=state, outputs=state)
    for _ in range(3):
        compiled(mx.ones((2, 3)))
    assert (len(traces), optimizer.optimizers[0].step.item()) == (1, 3)
