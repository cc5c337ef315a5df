"""Orbax saves and restores a state, with None where an option is off (L-021)."""

import jax
import jax.numpy as jnp
import optax
import pytest

from lion_ports.jax import fused_lion, lion

ocp = pytest.importorskip("orbax.checkpoint", reason="needs the extra 'peers'")

ALL = {
    "weight_decay": 0.1,
    "decay": "independent",
    "mu_dtype": "bfloat16",
    "loss_scale": "dynamic",
    "gradient_accumulation_steps": 2,
    "ema_decay": 0.9,
}


def saved_and_restored(folder, tree, abstract):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "checkpoint", tree)
        checkpointer.wait_until_finished()
        return checkpointer.restore(folder / "checkpoint", abstract)


@pytest.mark.parametrize("options", [{}, ALL], ids=["plain", "all"])
def test_a_restored_run_goes_on_with_the_same_bits(options, tmp_path, arrays, assert_same):
    optimizer = fused_lion(1e-2, **options)
    step = jax.jit(optimizer.step)
    params = {**arrays(1), "half": jnp.ones(4, jnp.bfloat16)}
    grads = [{**arrays(2 + i), "half": jnp.full(4, 0.1, jnp.bfloat16)} for i in range(6)]
    state = optimizer.init(params)
    for g in grads[:3]:
        params, state = step(params, g, state)
    abstract = jax.eval_shape(lambda p: (p, optimizer.init(p)), params)
    restored = saved_and_restored(tmp_path, (params, state), abstract)
    assert_same(restored, (params, state))
    for g in grads[3:]:
        params, state = step(params, g, state)
        restored = step(restored[0], g, restored[1])
    assert_same(restored, (params, state))


def test_a_state_inside_of_a_chain(tmp_path, arrays, assert_same):
    optimizer = optax.chain(optax.clip(1.0), lion(1e-2, weight_decay=0.1))
    state = optimizer.init(arrays(1))
    _, state = optimizer.update(arrays(2), state, arrays(1))
    abstract = jax.eval_shape(optimizer.init, arrays(1))
    assert_same(saved_and_restored(tmp_path, state, abstract), state)
