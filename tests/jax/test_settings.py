"""The arguments of the constructors: how they look, and how bad ones are answered (L-020)."""

import inspect

import jax.numpy as jnp
import pytest

from lion_ports import ConfigError, DtypeError, LionConfig
from lion_ports.jax import fused_lion, lion, scale_by_lion


@pytest.mark.parametrize("make", [lion, fused_lion])
def test_the_signature_is_the_one_that_help_shows(make):
    parameters = inspect.signature(make).parameters
    first = ["learning_rate", "b1", "b2", "mu_dtype", "weight_decay", "mask"]
    assert list(parameters)[:6] == first
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name not in first)
    ours = {"learning_rate": "lr", "mu_dtype": "momentum_dtype"}
    named = {ours.get(name, name) for name in parameters} - {"b1", "b2", "mask"}
    assert named | {"betas"} == set(inspect.signature(LionConfig).parameters)
    assert make.__doc__.startswith("Lion")


def test_the_defaults_are_those_of_the_specification():
    config = inspect.signature(LionConfig).parameters
    for name, parameter in inspect.signature(lion).parameters.items():
        if name in config and parameter.default is not None:
            assert parameter.default == config[name].default


def test_all_problems_come_in_one_error():
    with pytest.raises(
        ConfigError, match="3 problems: unknown setting 'weight_decy'; did you"
    ) as e:
        lion(weight_decy=0.1, b1=1.5, learning_rate=-1)
    assert "betas[0] = 1.5 is not in [0, 1)" in str(e.value)
    with pytest.raises(ConfigError, match="momentum_dtype = 'bf16' is not one of"):
        fused_lion(mu_dtype="bf16")
    with pytest.raises(ConfigError, match=r"betas\[0\] = 1.5"):
        scale_by_lion(b1=1.5)


def test_dtypes_of_the_momentum_may_be_jaxs_own():
    assert lion(mu_dtype=jnp.bfloat16).init(jnp.ones(2)).mu.dtype == jnp.bfloat16


def test_parameters_that_are_integers_are_named():
    params = {"layers": [{"w": jnp.ones(2)}, {"w": jnp.ones(2, jnp.int32)}]}
    with pytest.raises(DtypeError, match=r"^layers\.1\.w has dtype int32"):
        lion().init(params)


def test_gradients_that_do_not_fit_are_named():
    params = {"w": jnp.ones((2, 3))}
    for make, bad in ((fused_lion, jnp.ones(3)), (fused_lion, jnp.ones((2, 3), jnp.complex64))):
        optimizer = make()
        with pytest.raises(
            ConfigError, match=r"the gradient of w is .*its parameter float32\[2, 3"
        ):
            optimizer.step(params, {"w": bad}, optimizer.init(params))
