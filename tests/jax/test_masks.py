"""What decays: masks (L-017), and what has no gradient (L-003)."""

import jax
import jax.numpy as jnp
import pytest

from lion_ports.jax import fused_lion

pytestmark = pytest.mark.usefixtures("strict")


def decayed(params, mask):
    """The parameters after a step with zero gradients, which takes a quarter of what decays."""
    optimizer = fused_lion(0.5, weight_decay=0.5, mask=mask)
    zeros = jax.tree.map(jnp.zeros_like, params)
    return optimizer.step(params, zeros, optimizer.init(params))[0]


@pytest.mark.parametrize("mask", [{"w": True, "b": False}, lambda p: {"w": True, "b": False}])
def test_trees_and_functions(mask, arrays, assert_same):
    params = arrays(7)
    assert_same(decayed(params, mask), {"w": 0.75 * params["w"], "b": params["b"]})


def test_prefixes(arrays, assert_same):
    params = {"layer": arrays(7), "head": jnp.ones(3)}
    moved = decayed(params, {"layer": False, "head": True})
    assert_same(moved, {"layer": params["layer"], "head": 0.75 * params["head"]})


def test_one_boolean_for_all(arrays, assert_same):
    assert_same(decayed(arrays(7), False), arrays(7))


def test_a_parameter_without_a_gradient_is_left_alone(arrays, assert_same):
    optimizer = fused_lion(0.5, weight_decay=0.5)
    params = arrays(1)
    first, state = optimizer.step(params, arrays(2), optimizer.init(params))
    second, after = jax.jit(optimizer.step)(first, {"w": arrays(3)["w"], "b": None}, state)
    assert_same((second["b"], after.mu["b"]), (first["b"], state.mu["b"]))
    assert not jnp.array_equal(second["w"], first["w"])


def test_trees_with_holes(assert_same):
    """None among the parameters is no parameter, as in a filtered Equinox module."""
    params = {"w": jnp.ones(2), "activation": None}
    optimizer = fused_lion(0.5)
    moved, state = optimizer.step(params, params, optimizer.init(params))
    assert_same(moved, {"w": jnp.full(2, 0.5), "activation": None})
    assert state.mu["activation"] is None
