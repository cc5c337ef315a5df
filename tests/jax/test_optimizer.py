"""lion_ports.jax as optax users know a transform. Its arithmetic: tests/conformance."""

import os
import subprocess
import sys

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra 'jax'")
optax = pytest.importorskip("optax", reason="needs the extra 'jax'")
jnp = jax.numpy

from lion_ports import (  # noqa: E402
    ConfigError,
    DtypeError,
    LionConfig,
    NonFiniteError,
    reference,
)
from lion_ports.jax import fused_lion, lion, scale_by_lion  # noqa: E402


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


def arrays(seed, dtype=jnp.float32, shape=(64, 33)):
    rng = np.random.Generator(np.random.Philox(seed))
    return {"w": jnp.asarray(rng.standard_normal(shape), dtype), "b": jnp.ones(3, dtype)}


# float16 is left out: there XLA on the CPU computes the parameter twice, and copies for it.
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_donated_step_needs_no_temporary_bytes(dtype):
    optimizer = fused_lion(weight_decay=0.1)
    params = arrays(1, dtype, (512, 1024))
    state = optimizer.init(params)
    step = jax.jit(optimizer.step, donate_argnums=(0, 2))
    compiled = step.lower(params, arrays(2, dtype, (512, 1024)), state, 1e-3).compile()
    memory = compiled.memory_analysis()
    held = sum(x.nbytes for x in jax.tree.leaves((params, state)))
    assert memory.temp_size_in_bytes == 0
    assert memory.alias_size_in_bytes >= held


def test_one_trace_serves_every_learning_rate():
    optimizer = fused_lion()
    traces = []

    @jax.jit
    def step(params, grads, state, lr):
        traces.append(None)
        return optimizer.step(params, grads, state, lr)

    params = arrays(3)
    state = optimizer.init(params)
    for i in range(5):
        params, state = step(params, arrays(i), state, 1e-3 / (i + 1))
    assert len(traces) == 1


def test_a_sharded_step_communicates_nothing():
    code = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from lion_ports.jax import fused_lion
mesh = Mesh(np.array(jax.devices()), ("d",))
for spec in (P("d"), P(None, "d")):
    x = jax.device_put(np.ones((8, 16), np.float32), NamedSharding(mesh, spec))
    optimizer = fused_lion(weight_decay=0.1)
    state = optimizer.init(x)
    step = jax.jit(optimizer.step, donate_argnums=(0, 2))
    text = step.lower(x, x + 1, state).compile().as_text()
    assert len(jax.devices()) == 4 and state.mu.sharding == x.sharding
    assert not any(word in text for word in ("all-reduce", "all-gather", "collective"))
"""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | flags)


def test_lion_works_in_chain_inject_hyperparams_multisteps_and_scan():
    params = arrays(4)
    chained = optax.chain(optax.clip_by_global_norm(1.0), lion(1e-3, weight_decay=0.1))
    injected = optax.inject_hyperparams(lion)(learning_rate=lambda count: 1e-3, weight_decay=0.1)
    accumulated = optax.MultiSteps(lion(1e-3), every_k_schedule=2)
    for optimizer in (chained, injected, accumulated):

        def step(carry, grads, optimizer=optimizer):
            params, state = carry
            with jax.numpy_dtype_promotion("standard"):  # optax's own wrappers mix dtypes
                updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        with jax.numpy_dtype_promotion("standard"):
            state = optimizer.init(params)
            grads = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(arrays(i) for i in range(4)))
            (moved, _), _ = jax.lax.scan(step, (params, state), grads)
        assert not jnp.array_equal(moved["w"], params["w"])
        assert moved["w"].dtype == params["w"].dtype


def test_inject_hyperparams_with_static_betas_keeps_every_bit():
    static = ("b1", "b2", "weight_decay")
    injected = optax.inject_hyperparams(lion, static_args=static, hyperparam_dtype=jnp.float32)(
        learning_rate=1e-2, weight_decay=0.1
    )
    config = LionConfig(lr=np.float32(1e-2), weight_decay=0.1)
    params = arrays(4)
    state = injected.init(params)
    due = {n: np.asarray(x) for n, x in params.items()}
    due_state = reference.init(due, config)
    for i in range(5):
        grads = arrays(20 + i)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = jax.jit(injected.update)(grads, state, params)
            params = jax.jit(optax.apply_updates)(params, updates)
        due, due_state = reference.step(
            due, {n: np.asarray(g) for n, g in grads.items()}, due_state, config
        )
    assert all(np.array_equal(params[n], due[n]) for n in due)
    momentum = state.inner_state.mu
    assert all(np.array_equal(momentum[n], due_state.momentum[n]) for n in due)


def test_independent_decay_can_be_injected():
    injected = optax.inject_hyperparams(lion, static_args=("decay",))(
        learning_rate=1e-2, weight_decay=0.1, decay="independent", lr_peak=1e-2
    )
    params = arrays(4)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = jax.jit(injected.update)(params, injected.init(params), params)
    assert jnp.isfinite(updates["w"]).all()


def test_scale_by_lion_and_lion_agree():
    params = arrays(5)
    chain = optax.chain(scale_by_lion(), optax.scale_by_learning_rate(2.0**-6))
    whole = lion(2.0**-6)
    a, _ = chain.update(arrays(6), chain.init(params), params)
    b, _ = whole.update(arrays(6), whole.init(params), params)
    assert jax.tree.all(jax.tree.map(lambda x, y: jnp.array_equal(x, y), a, b))


def test_masks_may_be_trees_prefixes_or_functions():
    params = arrays(7)
    zero = jax.tree.map(jnp.zeros_like, params)
    tree = {"w": True, "b": False}
    for mask in (tree, lambda params: tree):
        optimizer = fused_lion(0.5, weight_decay=0.5, mask=mask)
        moved, _ = optimizer.step(params, zero, optimizer.init(params))
        assert jnp.array_equal(moved["b"], params["b"])
        assert jnp.allclose(moved["w"], 0.75 * params["w"])
    deep = {"layer": params, "head": jnp.ones(3)}
    prefix = fused_lion(0.5, weight_decay=0.5, mask={"layer": False, "head": True})
    moved, _ = prefix.step(deep, jax.tree.map(jnp.zeros_like, deep), prefix.init(deep))
    assert jnp.array_equal(moved["layer"]["w"], params["w"])
    assert jnp.array_equal(moved["head"], 0.75 * deep["head"])
    nobody = fused_lion(0.5, weight_decay=0.5, mask=False)
    assert jnp.array_equal(nobody.step(params, zero, nobody.init(params))[0]["w"], params["w"])


def test_a_schedule_sees_the_updates_done_before():
    optimizer = fused_lion(lambda count: 0.5 / (count.astype(jnp.float32) + 1))
    x = jnp.ones(1)
    state = optimizer.init(x)
    for _ in range(2):
        x, state = optimizer.step(x, jnp.ones(1), state)
    assert x.item() == 1 - 0.5 - 0.25


def test_nonfinite_raise_outside_and_inside_jit():
    optimizer = fused_lion(nonfinite="raise")
    params, grads = arrays(8), arrays(9)
    grads["b"] = grads["b"].at[1].set(jnp.nan)
    state = optimizer.init(params)
    with pytest.raises(NonFiniteError, match=r"\['b'\]"):
        optimizer.step(params, grads, state)
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"the gradient of \['b'\] has NaN"):
        jax.block_until_ready(jax.jit(optimizer.step)(params, grads, state))
    good, _ = jax.jit(optimizer.step)(params, arrays(9), state)
    donated = jax.jit(optimizer.step, donate_argnums=(0, 2))
    with pytest.raises(jax.errors.JaxRuntimeError, match="unless their buffers were donated"):
        jax.block_until_ready(donated(arrays(8), grads, state))
    assert jnp.isfinite(good["w"]).all()


def test_nonfinite_skip_counts_and_keeps_the_count_of_updates():
    optimizer = fused_lion(nonfinite="skip")
    params = arrays(10)
    grads = {"w": params["w"].at[0, 0].set(jnp.inf), "b": params["b"]}
    moved, state = jax.jit(optimizer.step)(params, grads, optimizer.init(params))
    assert jnp.array_equal(moved["b"], params["b"])
    assert (state.count.item(), state.skipped.item()) == (0, 1)


def test_integers_and_bad_settings_are_refused():
    with pytest.raises(DtypeError, match=r"\['x'\] has dtype int32"):
        lion().init({"x": jnp.ones(2, jnp.int32)})
    with pytest.raises(ConfigError, match="momentum_dtype = 'bf16' is not one of"):
        lion(mu_dtype="bf16")
    with pytest.raises(ConfigError, match="'weight_decy'; did you mean 'weight_decay'"):
        lion(weight_decy=0.1)
    with pytest.raises(ConfigError, match=r"betas\[0\] = 1.5"):
        fused_lion(b1=1.5)


def test_updates_without_parameters_are_refused():
    optimizer = lion()
    with pytest.raises(ValueError, match="params"):
        optimizer.update(arrays(1), optimizer.init(arrays(1)))
