"""lion_ports.mlx.Lion as MLX users know an optimizer. Its arithmetic: tests/conformance."""

import pytest

mx = pytest.importorskip("mlx.core", reason="needs the extra 'mlx'")
nn = pytest.importorskip("mlx.nn", reason="needs the extra 'mlx'")
optim = pytest.importorskip("mlx.optimizers", reason="needs the extra 'mlx'")

from mlx.utils import tree_flatten, tree_unflatten  # noqa: E402

from lion_ports import ConfigError, DtypeError, NonFiniteError  # noqa: E402
from lion_ports.mlx import Lion  # noqa: E402


@pytest.fixture(autouse=True)
def on_the_cpu():
    default = mx.default_device()
    mx.set_default_device(mx.cpu)
    yield
    mx.set_default_device(default)


def test_update_moves_a_model():
    model = nn.Linear(3, 2)
    before = mx.array(model.weight)
    Lion(0.5).update(model, {"weight": mx.ones((2, 3))})
    assert mx.array_equal(model.weight, before - 0.5)


def test_the_momentum_is_made_from_the_parameter_not_from_the_gradient():
    optimizer = Lion()
    parameters = {"w": mx.ones(3, mx.bfloat16)}
    moved = optimizer.apply_gradients({"w": mx.ones(3)}, parameters)
    assert optimizer.state["w"]["m"].dtype == mx.bfloat16
    assert moved["w"].dtype == mx.bfloat16


def test_a_late_or_missing_gradient_is_no_gradient():
    optimizer = Lion(0.5, weight_decay=1.0)
    parameters = {"a": mx.ones(1), "b": mx.ones(1)}
    parameters |= optimizer.apply_gradients({"a": mx.ones(1)}, parameters)
    assert parameters["b"].item() == 1
    parameters |= optimizer.apply_gradients({"a": None, "b": mx.ones(1)}, parameters)
    assert (parameters["a"].item(), parameters["b"].item()) == (0.0, 0.0)


def test_one_trace_serves_every_learning_rate():
    model, optimizer = nn.Linear(3, 2), Lion()
    optimizer.init(model.trainable_parameters())
    traces = []

    def step(x):
        traces.append(None)
        loss, grads = nn.value_and_grad(model, lambda x: model(x).square().sum())(x)
        optimizer.update(model, grads)
        return loss

    state = [model.state, optimizer.state]
    compiled = mx.compile(step, inputs=state, outputs=state)
    for i in range(5):
        optimizer.learning_rate = 1e-2 / (i + 1)
        compiled(mx.ones((4, 3)))
        mx.eval(state)
    assert len(traces) == 1
    assert optimizer.step.item() == 5


def test_the_mask_sees_the_path_of_a_parameter():
    optimizer = Lion(0.5, weight_decay=0.5, mask=lambda path, x: path.endswith("weight"))
    parameters = {"layer": {"weight": mx.ones((2, 2)), "bias": mx.ones(2)}}
    moved = optimizer.apply_gradients(
        {"layer": {"weight": mx.zeros((2, 2)), "bias": mx.zeros(2)}}, parameters
    )
    assert moved["layer"]["weight"][0, 0].item() == 0.75
    assert moved["layer"]["bias"][0].item() == 1.0


def test_mlx_schedules_see_the_updates_done_before():
    optimizer = Lion(optim.exponential_decay(0.5, 0.5))
    parameters = {"w": mx.ones(1)}
    for _ in range(3):
        parameters = optimizer.apply_gradients({"w": mx.ones(1)}, parameters)
    assert parameters["w"].item() == 1 - 0.5 - 0.25 - 0.125


def test_the_state_goes_through_safetensors(tmp_path):
    optimizer = Lion(0.5)
    parameters = {"w": mx.ones(2)}
    parameters = optimizer.apply_gradients({"w": mx.ones(2)}, parameters)
    mx.save_safetensors(str(tmp_path / "state.safetensors"), dict(tree_flatten(optimizer.state)))
    other = Lion(0.5)
    other.state = tree_unflatten(list(mx.load(str(tmp_path / "state.safetensors")).items()))
    gradients = {"w": mx.array([-0.05, 0.05])}
    a = optimizer.apply_gradients(gradients, parameters)
    b = other.apply_gradients(gradients, parameters)
    assert mx.array_equal(a["w"], b["w"])
    assert mx.array_equal(optimizer.state["w"]["m"], other.state["w"]["m"])


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


def test_nonfinite_raise_cannot_be_compiled_and_says_so():
    optimizer = Lion(nonfinite="raise")
    step = mx.compile(lambda g, x: optimizer.apply_gradients({"w": g}, {"w": x})["w"])
    with pytest.raises(ConfigError, match=r"inside mx\.compile"):
        step(mx.ones(1), mx.ones(1))


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


def test_the_learning_rate_of_any_schedule_is_an_array():
    optimizer = Lion(lambda step: 0.5)
    moved = optimizer.apply_gradients({"w": mx.ones(1)}, {"w": mx.ones(1)})
    assert moved["w"].item() == 0.5
    assert isinstance(optimizer.learning_rate, mx.array)


def test_integers_and_bad_settings_are_refused():
    with pytest.raises(DtypeError, match=r"w has dtype mlx\.core\.int32"):
        Lion().init({"w": mx.array([1, 2])})
    with pytest.raises(ConfigError, match="'weight_decy'; did you mean 'weight_decay'"):
        Lion(weight_decy=0.1)
