"""Gradients and states that do not fit are refused before anything is changed."""

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lion_ports import ConfigError, StateError
from lion_ports.config import Rule
from lion_ports.mlx import Lion
from lion_ports.mlx.update import direction


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize(
    ("x", "g", "message"),
    [
        (mx.array(1.0), mx.ones(4), r"float32\[4\], and its parameter float32\[\]; give a"),
        (mx.ones(3), mx.ones(1), r"float32\[1\], and its parameter float32\[3\]; give a"),
        (mx.ones(3), mx.ones((1, 3)), r"float32\[1, 3\], and its parameter float32\[3\]"),
        (mx.ones(3), mx.array([1j] * 3), r"complex64\[3\], and its parameter float32\[3\]"),
        (mx.array([1j] * 3), mx.ones(3), r"float32\[3\], and its parameter complex64\[3\]"),
        (mx.ones(3, mx.bfloat16), mx.ones(2), r"float32\[2\], and its parameter bfloat16\[3\]"),
    ],
)
def test_a_gradient_of_another_shape_or_kind(x, g, message, compiled):
    optimizer = Lion(gradient_accumulation_steps=2, nonfinite="skip")
    before = dict(tree_flatten(optimizer.state))
    step = mx.compile(optimizer.apply_gradients) if compiled else optimizer.apply_gradients
    with pytest.raises(ConfigError, match=rf"the gradient of a\.w is {message}"):
        step({"a": {"v": mx.ones(1), "w": g}}, {"a": {"v": mx.ones(1), "w": x}})
    after = dict(tree_flatten(optimizer.state))
    assert before.keys() == after.keys()
    assert all(before[path] is array for path, array in after.items())


def test_arrays_of_numpy_and_no_arrays():
    own, theirs = {"w": mx.ones(2)}, {"w": np.ones(2)}
    for gradients, parameters, message in [
        (theirs, own, r"the gradient of w is a numpy\.ndarray; give an mx\.array"),
        (own, theirs, r"the parameter w is a numpy\.ndarray; give an mx\.array"),
        ({"w": 1.0}, own, r"the gradient of w is a builtins\.float"),
        (own, {"w": {"v": mx.ones(2)}}, "there is a gradient of w, and no such parameter"),
    ]:
        optimizer = Lion()
        with pytest.raises(ConfigError, match=message):
            optimizer.apply_gradients(gradients, parameters)
        assert sorted(optimizer.state) == ["learning_rate", "step"]


def test_in_a_model():
    model, optimizer = nn.Linear(2, 3), Lion()
    with pytest.raises(ConfigError, match=r"the gradient of bias is float32\[1\], and"):
        optimizer.update(model, {"weight": mx.ones((3, 2)), "bias": mx.ones(1)})
    assert sorted(optimizer.state) == ["learning_rate", "step"]


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ({"m": mx.ones(4)}, r"the state's m of w is float32\[4\], and the parameter float32\[3\]"),
        ({"m": mx.ones(3), "average": mx.ones(1)}, r"the state's average of w is float32\[1\]"),
        ({"m": mx.array([1j] * 3)}, r"the state's m of w is complex64\[3\]"),
        ([{"m": mx.ones(3)}], "the state of w is not that of this tree"),
    ],
)
def test_a_loaded_state_of_other_parameters(slots, message):
    optimizer, x = Lion(ema_decay=0.5), {"w": mx.ones(3)}
    optimizer.state = {**optimizer.state, "w": slots}
    for use in (lambda: optimizer.init(x), lambda: optimizer.apply_gradients(x, x)):
        with pytest.raises(StateError, match=message):
            use()
    assert optimizer.step.item() == 0


OTHERS = {
    "AdamW": optim.AdamW(0.1),
    "SGD": optim.SGD(0.1, momentum=0.9),
    "Adafactor": optim.Adafactor(0.1),
    "Adagrad": optim.Adagrad(0.1),
    "RMSprop": optim.RMSprop(0.1),
    "MultiOptimizer": optim.MultiOptimizer([Lion(0.1)]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_state_of_another_optimizer(name):
    other, optimizer = OTHERS[name], Lion()
    parameters = {"layers": [{"weight": mx.ones((2, 3))}]}
    other.init(parameters)
    held = optimizer.state
    with pytest.raises(StateError, match="is not that of a Lion"):
        optimizer.state = other.state
    assert optimizer.state is held
    with pytest.raises(StateError, match="the state is of type list, not a dictionary"):
        optimizer.state = []
    with pytest.raises(StateError, match="the state's 'lion' is of type int, not a dictionary"):
        optimizer.state = {"lion": 3}


def test_parameters_may_be_named_like_slots_or_be_one_array():
    for parameters in ({"v": mx.ones(2), "m": {"m": mx.ones(2)}, "step": mx.ones(1)}, mx.ones(2)):
        optimizer, other = Lion(ema_decay=0.5, gradient_accumulation_steps=2), Lion()
        optimizer.apply_gradients(parameters, parameters)
        optimizer.apply_gradients(parameters, parameters)
        other.state = optimizer.state
        other.apply_gradients(parameters, parameters)
        assert other.step.item() == 2


def test_a_state_in_a_longer_window():
    optimizer, x = Lion(gradient_accumulation_steps=4), {"w": mx.ones(1)}
    for _ in range(2):
        optimizer.apply_gradients(x, x)
    for steps in (1, 2):
        message = rf"after 2 micro-steps, and this optimizer has \w+={steps}; make it with more"
        with pytest.raises(StateError, match=message):
            Lion(gradient_accumulation_steps=steps).state = optimizer.state
    other = Lion(gradient_accumulation_steps=3)
    other.state = optimizer.state
    other.apply_gradients(x, x)
    assert other.step.item() == 1


def test_a_state_may_be_assigned_inside_a_compiled_step():
    optimizer, x = Lion(0.5, gradient_accumulation_steps=2), {"w": mx.ones(1)}
    optimizer.init(x)

    @mx.compile
    def step(state, x):
        optimizer.state = state
        return optimizer.apply_gradients(x, x), optimizer.state

    state = optimizer.state
    for _ in range(2):
        x, state = step(state, x)
    assert x["w"].item() == 0.5


def test_a_direction_that_there_is_not():
    with pytest.raises(ConfigError, match="nonlinearity = 'cube' is none that Lion has"):
        direction(mx.ones(2), Rule("cube"))
