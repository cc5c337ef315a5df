"""Gradients that are not finite (L-019), and the dynamic loss scale that they halve (L-024)."""

import jax
import jax.numpy as jnp
import pytest

from lion_ports import ConfigError, NonFiniteError
from lion_ports.jax import fused_lion

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def bad(arrays):
    grads = arrays(9)
    return {**grads, "b": grads["b"].at[1].set(jnp.nan)}


def test_raise_names_the_parameter_and_moves_nothing(arrays, bad):
    optimizer = fused_lion(nonfinite="raise")
    params = arrays(8)
    state = optimizer.init(params)
    with pytest.raises(NonFiniteError, match="the gradient of b has NaN"):
        optimizer.step(params, bad, state)
    with pytest.raises(jax.errors.JaxRuntimeError, match="the gradient of b has NaN"):
        jax.block_until_ready(jax.jit(optimizer.step)(params, bad, state))
    good, _ = jax.jit(optimizer.step)(params, arrays(9), state)
    assert jnp.isfinite(good["w"]).all()


def test_raise_says_that_donated_buffers_are_gone(arrays, bad):
    optimizer = fused_lion(nonfinite="raise")
    donated = jax.jit(optimizer.step, donate_argnums=(0, 2))
    with pytest.raises(jax.errors.JaxRuntimeError, match="unless their buffers were donated"):
        jax.block_until_ready(donated(arrays(8), bad, optimizer.init(arrays(8))))


def test_raise_works_in_vmap(arrays):
    optimizer = fused_lion(nonfinite="raise")
    x = jnp.ones((3, 2))
    state = jax.vmap(optimizer.init)(x)
    moved, _ = jax.vmap(optimizer.step)(x, x, state)
    assert jnp.isfinite(moved).all()


def test_skip_counts_and_leaves_everything_else(arrays, bad, assert_same):
    optimizer = fused_lion(nonfinite="skip", ema_decay=0.9)
    params = arrays(10)
    state = optimizer.init(params)
    moved, after = jax.jit(optimizer.step)(params, bad, state)
    assert_same(moved, params)
    assert after.skipped == 1
    assert_same(after._replace(skipped=state.skipped), state)


def test_a_dynamic_scale_grows_halves_and_scales_the_loss(arrays):
    optimizer = fused_lion(2.0**-4, loss_scale="dynamic", loss_scale_growth_interval=2)
    params = {"x": jnp.ones(2, jnp.float16)}
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        def loss(p):
            return jnp.sum(p["x"].astype(jnp.float32) * 2.0**-26) * state.loss_scale

        return optimizer.step(params, jax.grad(loss)(params), state)

    scales = []
    for _ in range(4):
        params, state = step(params, state)
        scales.append(state.loss_scale.item())
    assert scales == [2.0**15, 2.0**16, 2.0**16, 2.0**17]
    assert params["x"].tolist() == [1 - 4 * 2.0**-4] * 2  # 2^-26 alone is 0 in float16

    _, state = optimizer.step(params, {"x": jnp.full(2, jnp.inf, jnp.float16)}, state)
    assert (state.loss_scale, state.skipped, state.good_steps) == (2.0**16, 1, 0)


def test_dynamic_and_raise_exclude_each_other():
    with pytest.raises(ConfigError, match="loss_scale='dynamic' skips what is not finite"):
        fused_lion(loss_scale="dynamic", nonfinite="raise")
