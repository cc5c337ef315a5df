"""The transform ``lion`` inside of optax's own wrappers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from usual import slow

from lion_ports import ConfigError, LionConfig, reference
from lion_ports.jax import LionState, averaged_params, fused_lion, lion, scale_by_lion

# What every wrapper is tried with: most options, and decay, so that parameters matter.
MANY = {"weight_decay": 0.1, "cautious": True, "ema_decay": 0.5, "gradient_accumulation_steps": 2}


def train(optimizer, params, grads):
    """Parameters, state and last updates after these gradients, compiled."""

    @jax.jit
    def step(params, state, g):
        updates, state = optimizer.update(g, state, params)
        return optax.apply_updates(params, updates), state, updates

    state = optimizer.init(params)
    for g in grads:
        params, state, updates = step(params, state, g)
    return params, state, updates


@pytest.fixture
def stream(arrays):
    return lambda dtype="float32": [arrays(10 + i, dtype) for i in range(4)]


def test_a_chain_gives_lion_what_came_before(arrays, stream, assert_same):
    chained = optax.chain(optax.scale(0.5), lion(1e-2, **MANY))
    halved = [jax.tree.map(lambda g: g / 2, g) for g in stream()]
    params, state, _ = train(chained, arrays(1), stream())
    due, due_state, _ = train(lion(1e-2, **MANY), arrays(1), halved)
    assert_same((params, state[1]), (due, due_state))


# Other dtypes than bfloat16, which rounds most.
ALIKE = [slow(dtype) for dtype in ("float32", "float16")]


@pytest.mark.parametrize("dtype", ["bfloat16", ALIKE[0]])
def test_masked_leaves_the_others_to_whoever_comes_next(dtype, arrays, stream, assert_same):
    masked = optax.masked(lion(1e-2, **MANY), {"w": True, "b": False})
    params, state, updates = train(masked, arrays(1, dtype), stream(dtype))
    only = [{"w": g["w"]} for g in stream(dtype)]
    due, due_state, _ = train(lion(1e-2, **MANY), {"w": arrays(1, dtype)["w"]}, only)
    assert_same((params["w"], state.inner_state.mu["w"]), (due["w"], due_state.mu["w"]))
    assert_same(updates["b"], stream(dtype)[-1]["b"])
    averages = averaged_params(state, params)
    assert_same(averages, {"w": averaged_params(due_state, due)["w"], "b": params["b"]})


def test_partition_gives_each_part_its_own_lion(arrays, stream, assert_same):
    optimizers = {"large": lion(1e-2, weight_decay=0.1), "small": lion(1e-3, b1=0.5)}
    both = optax.partition(optimizers, {"w": "large", "b": "small"})
    params, _, _ = train(both, arrays(1), stream())
    for name, part in {"w": "large", "b": "small"}.items():
        only = [{name: g[name]} for g in stream()]
        due, _, _ = train(optimizers[part], {name: arrays(1)[name]}, only)
        assert_same(params[name], due[name])


def test_multi_steps_agrees_with_gradient_accumulation_steps(arrays, assert_same):
    """To the bit where the mean is exact; else its running mean rounds otherwise than a sum."""
    small = [jax.tree.map(lambda g: jnp.round(4 * g) / 4, arrays(20 + i)) for i in range(8)]
    ours = lion(2.0**-6, weight_decay=0.1, gradient_accumulation_steps=2)
    theirs = optax.MultiSteps(lion(2.0**-6, weight_decay=0.1), every_k_schedule=2)
    params, state, _ = train(ours, arrays(1), small)
    due, due_state, _ = train(theirs, arrays(1), small)
    assert_same((params, state.mu), (due, due_state.inner_opt_state.mu))
    assert state.count == due_state.gradient_step == 4

    rough = [arrays(30 + i) for i in range(6)]
    ours = lion(2.0**-6, gradient_accumulation_steps=3)
    theirs = optax.MultiSteps(lion(2.0**-6), every_k_schedule=3)
    (_, state, _), (_, due_state, _) = (train(one, arrays(1), rough) for one in (ours, theirs))
    for name, m in due_state.inner_opt_state.mu.items():
        np.testing.assert_allclose(state.mu[name], m, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", ["bfloat16", ALIKE[0]])
def test_flatten(dtype, arrays, stream, assert_same):
    params, _, _ = train(optax.flatten(lion(1e-2, weight_decay=0.1)), arrays(1, dtype), stream())
    due, _, _ = train(lion(1e-2, weight_decay=0.1), arrays(1, dtype), stream())
    assert_same(params, due)


def widened(inner):
    """docs/jax.md: for wrappers whose zeros take the dtype of the gradients."""
    cast = optax.stateless(lambda grads, params: optax.tree.cast(grads, jnp.float32))
    return optax.chain(cast, inner)


@pytest.mark.parametrize("dtype", ["bfloat16", *ALIKE])
def test_apply_if_finite_agrees_with_skip(dtype, arrays, stream, assert_same):
    bad = arrays(5, dtype)
    bad["b"] = bad["b"].at[1].set(jnp.nan)
    grads = [*stream(dtype)[:2], bad, *stream(dtype)[2:]]
    theirs = widened(optax.apply_if_finite(lion(1e-2, weight_decay=0.1), 5))
    ours = lion(1e-2, weight_decay=0.1, nonfinite="skip")
    params, state, _ = train(theirs, arrays(1, dtype), grads)
    due, due_state, _ = train(ours, arrays(1, dtype), grads)
    assert_same((params, state[1].inner_state.mu), (due, due_state.mu))
    assert due_state.skipped == state[1].total_notfinite == 1


def test_conditionally_mask(arrays, stream, assert_same):
    every_other = optax.transforms.conditionally_mask(lion(1e-2), lambda step: step % 2 == 0)
    params, _, _ = train(widened(every_other), arrays(1, "bfloat16"), stream("bfloat16"))
    due, _, _ = train(lion(1e-2), arrays(1, "bfloat16"), stream("bfloat16")[::2])
    assert_same(params, due)


def test_states_are_found_and_mapped_by_optax(arrays):
    params = arrays(1)
    optimizer = optax.chain(optax.clip(1.0), lion(**MANY, decay="independent"))
    state = optimizer.init(params)
    assert optax.tree_utils.tree_get(state, "mu") is state[1].mu
    assert optax.tree_utils.tree_get(state, "lr_peak") == np.float32(1e-4)
    labels = optax.tree_map_params(optimizer, lambda _: "like a parameter", state)[1]
    alike = jax.tree.map(lambda _: "like a parameter", params)
    assert labels.mu == labels.grad_sum == labels.average == alike
    assert isinstance(labels, LionState)
    assert labels.count is state[1].count


@pytest.mark.parametrize("dtype", [ALIKE[0], "bfloat16"])
def test_a_parameter_that_stays_keeps_its_zeros_sign(dtype):
    """Between updates, without a gradient, and after a step that is left out: x + -0 is x."""
    params = {"x": jnp.array([-0.0, 0.0, 1.0], dtype)}
    grads = {"x": jnp.ones(3, dtype)}
    waiting = lion(gradient_accumulation_steps=2)
    skipping = lion(nonfinite="skip")
    for optimizer, g in (
        (waiting, grads),
        (lion(), {"x": None}),
        (skipping, {"x": jnp.full(3, jnp.inf, dtype)}),
    ):
        updates, _ = jax.jit(optimizer.update)(g, optimizer.init(params), params)
        same = optax.apply_updates(params, updates)["x"]
        assert jnp.signbit(same).tolist() == [True, False, False]
        assert jnp.array_equal(same, params["x"])


def test_ema_overwrite_every_is_for_fused_lion(arrays):
    with pytest.raises(ConfigError, match="an optax transform only adds to them; use fused_lion"):
        lion(ema_decay=0.9, ema_overwrite_every=2)
    fused_lion(ema_decay=0.9, ema_overwrite_every=2)


def test_scale_by_lion_and_lion_agree(arrays, assert_same):
    params = arrays(5)
    options = {"cautious": True, "nonlinearity": "clip", "steepness": 0.5}
    chain = optax.chain(scale_by_lion(**options), optax.scale_by_learning_rate(2.0**-6))
    whole = lion(2.0**-6, **options)
    theirs, _ = chain.update(arrays(6), chain.init(params), params)
    ours, _ = whole.update(arrays(6), whole.init(params), params)
    assert_same(ours, theirs)


def test_updates_without_parameters_are_refused(arrays):
    optimizer = lion()
    with pytest.raises(ValueError, match="lion needs the parameters"):
        optimizer.update(arrays(1), optimizer.init(arrays(1)))
    direction = scale_by_lion()
    direction.update(arrays(1), direction.init(arrays(1)))


def test_a_derivative_by_the_learning_rate_goes_through_apply_updates(arrays):
    params, grads = arrays(1), arrays(2)

    def loss(lr):
        optimizer = lion(lr)
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        return sum(jnp.sum(x) for x in jax.tree.leaves(optax.apply_updates(params, updates)))

    slope = jax.grad(loss)(0.1)
    assert slope == -sum(jnp.sum(jnp.sign(g)) for g in jax.tree.leaves(grads))


def test_the_transform_and_the_fused_step_agree(arrays, stream, assert_same):
    fused = fused_lion(1e-2, **MANY)
    params, state = arrays(1), fused.init(arrays(1))
    for g in stream():
        params, state = jax.jit(fused.step)(params, g, state)
    due, due_state, _ = train(lion(1e-2, **MANY), arrays(1), stream())
    assert_same((params, state), (due, due_state))


def test_lion_differs_from_optax_lion_in_rounding_alone(arrays, stream):
    """Migration: the same numbers to a few ulp, once the weight decay is given."""
    params, state, _ = train(lion(2.0**-6, weight_decay=1e-3), arrays(1), stream())
    due, due_state, _ = train(optax.lion(2.0**-6), arrays(1), stream())
    for name in params:
        np.testing.assert_allclose(params[name], due[name], rtol=1e-6)
        np.testing.assert_allclose(state.mu[name], due_state[0].mu[name], rtol=1e-5, atol=1e-8)
    config = LionConfig(2.0**-6, weight_decay=1e-3)
    exact = {n: np.asarray(x) for n, x in arrays(1).items()}
    exact_state = reference.init(exact, config)
    for g in stream():
        grads = {n: np.asarray(a) for n, a in g.items()}
        exact, exact_state = reference.step(exact, grads, exact_state, config)
    assert all(np.array_equal(params[n], exact[n]) for n in exact)
