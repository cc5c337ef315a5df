"""Flax NNX: ``nnx.Optimizer`` around ``lion``, and the fused step on a split module."""

import jax
import jax.numpy as jnp
import pytest

from lion_ports.jax import averaged_params, export_state, fused_lion, import_state, lion

nnx = pytest.importorskip("flax.nnx", reason="needs the extra 'peers'")

OPTIONS = {"weight_decay": 0.01, "ema_decay": 0.9, "gradient_accumulation_steps": 2}


class Net(nnx.Module):
    def __init__(self, seed):
        rngs = nnx.Rngs(seed)
        self.hidden = nnx.Linear(2, 32, rngs=rngs)
        self.out = nnx.Linear(32, 1, rngs=rngs)

    def __call__(self, x):
        return self.out(jnp.tanh(self.hidden(x)))


def loss(net):
    x = jax.random.normal(jax.random.key(1), (64, 2))
    return jnp.mean((net(x) - x[:, :1] * x[:, 1:]) ** 2)


@nnx.jit
def step(net, optimizer):
    optimizer.update(net, nnx.grad(loss)(net))


def pure(net, optimizer):
    """Parameters and state as trees of arrays."""
    return nnx.as_pure(nnx.state(net, nnx.Param)), nnx.as_pure(optimizer.opt_state)


def test_an_optimizer_trains_a_module():
    net = Net(0)
    optimizer = nnx.Optimizer(net, lion(3e-3, **OPTIONS), wrt=nnx.Param)
    first = loss(net)
    for _ in range(200):
        step(net, optimizer)
    last = loss(net)
    assert last < first / 4
    params, state = pure(net, optimizer)
    nnx.update(net, averaged_params(state, params))
    assert loss(net) not in (first, last)


def test_a_run_goes_on_in_a_fresh_module_from_the_portable_state(assert_same):
    net, other = Net(0), Net(1)
    optimizer, fresh = (
        nnx.Optimizer(n, lion(3e-3, **OPTIONS), wrt=nnx.Param) for n in (net, other)
    )
    for _ in range(3):
        step(net, optimizer)
    saved = export_state(*pure(net, optimizer))
    assert set(saved.parameters) == {"hidden.kernel", "hidden.bias", "out.kernel", "out.bias"}
    params, state = import_state(saved, *pure(other, fresh))
    nnx.update(other, params)
    nnx.update(fresh.opt_state, nnx.state(state))
    for _ in range(3):
        step(net, optimizer)
        step(other, fresh)
    assert_same(pure(other, fresh), pure(net, optimizer))


def test_the_fused_step_makes_the_same_module(assert_same):
    net, fused = Net(0), fused_lion(3e-3, **OPTIONS)
    optimizer = nnx.Optimizer(net, lion(3e-3, **OPTIONS), wrt=nnx.Param)
    graph, params = nnx.split(Net(0), nnx.Param)
    params = nnx.as_pure(params)
    state = fused.init(params)

    @jax.jit
    def fused_step(params, state):
        grads = jax.grad(lambda p: loss(nnx.merge(graph, p)))(params)
        return fused.step(params, grads, state)

    for _ in range(4):
        step(net, optimizer)
        params, state = fused_step(params, state)
    assert_same((params, state), pure(net, optimizer))
