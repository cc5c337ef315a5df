"""Equinox modules: trees with holes where there is no parameter."""

import jax
import jax.numpy as jnp
import optax
import pytest

from lion_ports.jax import export_state, fused_lion, lion

eqx = pytest.importorskip("equinox", reason="needs the extra 'jax'")


def problem():
    x = jax.random.normal(jax.random.key(1), (64, 2))
    return x, x[:, :1] * x[:, 1:]


def loss(model, x, y):
    return jnp.mean((jax.vmap(model)(x) - y) ** 2)


def model():
    return eqx.nn.MLP(2, 1, width_size=32, depth=1, activation=jnp.tanh, key=jax.random.key(0))


def test_the_transform_trains_a_module():
    net, (x, y) = model(), problem()
    optimizer = lion(3e-3, weight_decay=0.01, cautious=True)
    state = optimizer.init(eqx.filter(net, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(net, state):
        before, grads = eqx.filter_value_and_grad(loss)(net, x, y)
        params = eqx.filter(net, eqx.is_inexact_array)
        updates, state = optimizer.update(grads, state, params)
        return eqx.apply_updates(net, updates), state, before

    first = loss(net, x, y)
    for _ in range(100):
        net, state, _ = step(net, state)
    assert loss(net, x, y) < first / 4


def test_the_fused_step_makes_the_same_module(assert_same):
    net, (x, y) = model(), problem()
    params, static = eqx.partition(net, eqx.is_inexact_array)
    fused, transform = fused_lion(3e-3, weight_decay=0.01), lion(3e-3, weight_decay=0.01)
    state, theirs, other = fused.init(params), params, transform.init(params)
    step, update = jax.jit(fused.step), jax.jit(transform.update)
    for _ in range(3):
        grads = eqx.filter_jit(eqx.filter_grad(loss))(eqx.combine(params, static), x, y)
        updates, other = update(grads, other, theirs)
        params, state = step(params, grads, state)
        theirs = optax.apply_updates(theirs, updates)
    assert_same((params, state), (theirs, other))
    assert set(export_state(params, state).parameters) == {
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
    }
