"""lion_ports.mlx.Lion as MLX users know an optimizer."""

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_flatten

from lion_ports import ConfigError, DtypeError, NonFiniteError
from lion_ports.mlx import Lion


def test_it_is_an_optimizer_of_mlx():
    assert isinstance(Lion(), optim.Optimizer)


def test_update_moves_a_model():
    model = nn.Linear(3, 2)
    before = mx.array(model.weight)
    Lion(0.5).update(model, {"weight": mx.ones((2, 3))})
    assert mx.array_equal(model.weight, before - 0.5)


def test_init_makes_zeros_beside_every_parameter():
    optimizer = Lion()
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1, bias=False))
    optimizer.init(model.trainable_parameters())
    assert sorted(optimizer.state) == ["layers", "learning_rate", "step"]
    first, second, third = optimizer.state["layers"]
    assert (sorted(first), second, sorted(third)) == (["bias", "weight"], {}, ["weight"])
    m = first["weight"]["m"]
    assert (m.shape, m.dtype, m.sum().item()) == ((2, 3), mx.float32, 0)


def test_the_momentum_is_made_from_the_parameter_not_from_the_gradient():
    optimizer = Lion()
    parameters = {"w": mx.ones(3, mx.bfloat16)}
    moved = optimizer.apply_gradients({"w": mx.ones(3)}, parameters)
    assert optimizer.state["w"]["m"].dtype == mx.bfloat16
    assert moved["w"].dtype == mx.bfloat16


def test_no_dtype_changes_in_a_model_of_mixed_dtypes():
    dtypes = {"a": mx.bfloat16, "b": mx.float16, "c": mx.float32, "d": mx.float64}
    parameters = {name: mx.ones(2, dtype) for name, dtype in dtypes.items()}
    optimizer = Lion(0.5, weight_decay=0.5, cautious=True, ema_decay=0.5, global_clipnorm=1.0)
    for gradient in (mx.float32, mx.float16):
        gradients = {name: mx.ones(2, gradient) for name in dtypes}
        parameters = optimizer.apply_gradients(gradients, parameters)
    assert {name: x.dtype for name, x in parameters.items()} == dtypes
    assert {name: optimizer.state[name]["m"].dtype for name in dtypes} == dtypes
    averages = [optimizer.state[name]["average"].dtype for name in dtypes]
    assert averages == [mx.float32, mx.float32, mx.float32, mx.float64]


def test_a_late_or_missing_gradient_is_no_gradient():
    optimizer = Lion(0.5, weight_decay=1.0)
    parameters = {"a": mx.ones(1), "b": mx.ones(1)}
    parameters |= optimizer.apply_gradients({"a": mx.ones(1)}, parameters)
    assert parameters["b"].item() == 1
    parameters |= optimizer.apply_gradients({"a": None, "b": mx.ones(1)}, parameters)
    assert (parameters["a"].item(), parameters["b"].item()) == (0.0, 0.0)


@pytest.mark.parametrize("name", ["step", "learning_rate", "lion"])
def test_parameters_may_have_the_names_of_the_state(name):
    optimizer = Lion(0.5, nonfinite="skip", ema_decay=0.5, gradient_accumulation_steps=2)
    parameters = {name: mx.ones(2), "inner": {name: mx.ones(2)}}
    for _ in range(4):
        parameters = optimizer.apply_gradients(parameters, parameters)
    assert optimizer.step.item() == 2
    assert optimizer.learning_rate.item() == 0.5
    assert parameters[name].tolist() == parameters["inner"][name].tolist() == [0, 0]
    assert optimizer.state[f"parameter:{name}"]["m"].shape == (2,)
    assert optimizer.averaged_parameters(parameters)[name].tolist() == [0.375, 0.375]


def test_the_mask_sees_the_path_of_a_parameter():
    optimizer = Lion(0.5, weight_decay=0.5, mask=lambda path, x: path.endswith("weight"))
    parameters = {"layer": {"weight": mx.ones((2, 2)), "bias": mx.ones(2)}}
    moved = optimizer.apply_gradients(
        {"layer": {"weight": mx.zeros((2, 2)), "bias": mx.zeros(2)}}, parameters
    )
    assert moved["layer"]["weight"][0, 0].item() == 0.75
    assert moved["layer"]["bias"][0].item() == 1.0


@pytest.mark.parametrize(
    "settings",
    [
        {"weight_decay": 1e-60},
        {"weight_decay": lambda step: 0.0 * step},
        {"weight_decay": lambda step: 0.0 * step, "decay": "independent", "lr_peak": 0.5},
        {"weight_decay": 1e-30, "decay": "independent", "lr_peak": 1e30},
    ],
)
def test_a_decay_that_comes_to_zero_is_absent(settings):
    infinite = {"w": mx.array([float("inf")])}
    moved = Lion(0.5, **settings).apply_gradients({"w": mx.zeros(1)}, infinite)
    assert moved["w"].item() == float("inf")


def test_nonfinite_skip_and_raise():
    gradients = {"a": mx.array([float("nan")]), "b": mx.ones(1)}
    parameters = {"a": mx.ones(1), "b": mx.ones(1)}
    skip = Lion(0.5, nonfinite="skip")
    assert skip.apply_gradients(gradients, parameters)["b"].item() == 1
    assert (skip.skipped, skip.step.item()) == (1, 0)
    missing = skip.apply_gradients({"a": None, "b": mx.ones(1)}, parameters)
    assert (missing["a"].item(), missing["b"].item()) == (1.0, 0.5)
    with pytest.raises(NonFiniteError, match="the gradient of a has NaN"):
        Lion(nonfinite="raise").apply_gradients(gradients, parameters)


def test_integers_are_refused_before_anything_is_made():
    optimizer = Lion()
    with pytest.raises(DtypeError, match=r"w has dtype mlx\.core\.int32"):
        optimizer.init({"v": mx.ones(1), "w": mx.array([1, 2])})
    assert sorted(optimizer.state) == ["learning_rate", "step"]


def test_a_whole_module_without_gradients_needs_no_state():
    model = nn.Sequential(nn.QuantizedLinear(64, 64), nn.Linear(64, 1))
    before, optimizer = mx.array(model.layers[1].bias), Lion(0.5)
    optimizer.update(model, {"layers": [None, {"weight": None, "bias": mx.ones(1)}]})
    assert mx.array_equal(model.layers[1].bias, before - 0.5)
    assert [path for path, _ in tree_flatten(optimizer.state) if "m" in path.split(".")] == [
        "layers.1.bias.m"
    ]


def test_bad_settings_are_refused_together():
    with pytest.raises(ConfigError, match="'weight_decy'; did you mean 'weight_decay'"):
        Lion(weight_decy=0.1)
    with pytest.raises(ConfigError, match="mask = True is not a function"):
        Lion(mask=True)
    with pytest.raises(ConfigError, match=r"2 problems: learning_rate = -1.*cautious_cap = 0\.5"):
        Lion(-1, cautious=True, cautious_cap=0.5)
