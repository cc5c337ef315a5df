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
    assert "learning_rate = -1 is not" in str(e.value)
    assert "b1 = 1.5 is not in [0, 1)" in str(e.value)
    with pytest.raises(ConfigError, match=r"^b1 = 1.5"):
        scale_by_lion(b1=1.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": jnp.ones(3)}, r"learning_rate has shape \(3,\)"),
        ({"learning_rate": "fast"}, "learning_rate = 'fast' is not"),
        ({"b1": 1.5}, "b1 = 1.5 is not in"),
        ({"b2": -1}, "b2 = -1 is not in"),
        ({"mu_dtype": "bf16"}, "mu_dtype = 'bf16' is not one of"),
        ({"mu_dtype": jnp.float16}, "mu_dtype = 'float16' is not one of"),
        ({"mu_dtype": 3}, "mu_dtype = '?3'? is not one of"),
        ({"lr_peak": 0.0, "decay": "independent"}, "decay='independent' needs lr_peak > 0"),
        ({"mask": "no_decay"}, "mask = 'no_decay' is neither True nor False; give a tree of"),
        ({"mask": 0.5}, "mask = 0.5 is neither"),
        ({"mask": {"w": 1}}, "mask of w = 1 is neither"),
        ({"mask": {"w": True, "b": [jnp.ones(2)]}}, r"mask of b.0 = Array\(\[1., 1.\]"),
    ],
)
def test_problems_are_told_under_the_names_of_this_port(options, message):
    for make in (lion, fused_lion):
        with pytest.raises(ConfigError, match="^" + message):
            make(**options)


def test_dtypes_of_the_momentum_may_be_jaxs_own():
    assert lion(mu_dtype=jnp.bfloat16).init(jnp.ones(2)).mu.dtype == jnp.bfloat16


def test_parameters_that_are_integers_are_named():
    params = {"layers": [{"w": jnp.ones(2)}, {"w": jnp.ones(2, jnp.int32)}]}
    with pytest.raises(DtypeError, match=r"^layers\.1\.w has dtype int32"):
        lion().init(params)


@pytest.mark.parametrize("make", [lion, fused_lion])
def test_names_of_other_ports_are_answered_with_those_of_this_one(make):
    for theirs, ours in (("lr", "learning_rate"), ("momentum_dtype", "mu_dtype"), ("betas", "b1")):
        with pytest.raises(ConfigError, match=f"unknown setting '{theirs}'; did you mean '{ours}'"):
            make(**{theirs: 1e-3})
