"""Training steps inside mx.compile: one trace, and the state goes in and out."""

import io

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

from lion_ports import ConfigError
from lion_ports.mlx import Lion

OPTIONS = {
    "plain": {},
    "schedules": {"learning_rate": optim.cosine_decay(0.01, 10), "weight_decay": lambda n: 0.1 * n},
    "independent": {"weight_decay": 0.1, "decay": "independent"},
    "accumulate": {"gradient_accumulation_steps": 2},
    "dynamic": {"loss_scale": "dynamic", "loss_scale_growth_interval": 2},
    "average": {"ema_decay": 0.9, "ema_overwrite_every": 2},
    "everything": {
        "weight_decay": 0.1,
        "cautious": True,
        "gradient_accumulation_steps": 2,
        "ema_decay": 0.9,
        "ema_overwrite_every": 2,
        "loss_scale": "dynamic",
        "loss_scale_growth_interval": 2,
    },
}


def train(options, *, compiled, rate=True):
    """Weights and traces of a little training with another learning rate at every step."""
    mx.random.seed(0)
    model, optimizer = nn.Linear(3, 2), Lion(**options)
    optimizer.init(model.trainable_parameters())
    traces = []

    def loss(x):
        return model(x).square().sum() * optimizer.loss_scale

    def step(x):
        traces.append(None)
        value, grads = nn.value_and_grad(model, loss)(x)
        optimizer.update(model, grads)
        return value

    state = [model.state, optimizer.state]
    if compiled:
        step = mx.compile(step, inputs=state, outputs=state)
    inputs = mx.random.normal((6, 4, 3))
    for i in range(6):
        if rate and not callable(options.get("learning_rate")):
            optimizer.learning_rate = 1e-2 / (i + 1)
        step(inputs[i])
        mx.eval(state)
    return model, optimizer, traces


@pytest.mark.parametrize("option", OPTIONS)
def test_one_trace_serves_every_step(option):
    model, optimizer, traces = train(OPTIONS[option], compiled=True)
    assert len(traces) == 1
    eager, reference, _ = train(OPTIONS[option], compiled=False)
    assert optimizer.step.item() == reference.step.item() > 0
    assert mx.allclose(model.weight, eager.weight, rtol=0, atol=2**-20)
    assert optimizer.loss_scale.item() == reference.loss_scale.item()


def test_a_restored_state_goes_on_in_a_compiled_step_that_is_made_after_it():
    options = OPTIONS["everything"]
    _, optimizer, _ = train(options, compiled=True)
    other = Lion(**options)
    other.state = optimizer.state
    gradients, parameters = {"w": mx.ones(3)}, {"w": mx.ones(3)}
    other.init(parameters)
    step = mx.compile(other.apply_gradients, inputs=other.state, outputs=other.state)
    step(gradients, parameters)
    assert other.step.item() == optimizer.step.item() == 3
    assert other.state["lion"]["micro"].item() == 1


def test_nonfinite_raise_cannot_be_compiled_and_says_so():
    optimizer = Lion(nonfinite="raise")
    step = mx.compile(lambda g, x: optimizer.apply_gradients({"w": g}, {"w": x})["w"])
    with pytest.raises(ConfigError, match=r"inside mx\.compile"):
        step(mx.ones(1), mx.ones(1))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize(("size", "dependencies"), [(1 << 14, 0), (20_000, 3)])
def test_large_parameters_are_updated_in_turn(size, dependencies, compiled):
    optimizer = Lion(0.1)
    xs, gs = ({name: mx.arange(size) / size for name in "ab"} for _ in range(2))
    optimizer.init(xs)
    mx.eval(xs, gs, optimizer.state)
    step = optimizer.apply_gradients
    if compiled:
        step = mx.compile(step, inputs=optimizer.state, outputs=optimizer.state)
    graph = io.StringIO()
    mx.export_to_dot(graph, step(gs, xs), [optimizer.state[name]["m"] for name in "ab"])
    # a's momentum waits for a, b for a's momentum, b's momentum for b.
    assert graph.getvalue().count("Depends") == dependencies
