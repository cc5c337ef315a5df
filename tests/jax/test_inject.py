"""optax.inject_hyperparams around ``lion``."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lion_ports import ConfigError, LionConfig, reference
from lion_ports.jax import lion


def train(injected, params, grads, set_by_step=None):
    """Parameters and state after these gradients; hyperparameters may be set before each step."""
    state = injected.init(params)
    update, apply = jax.jit(injected.update), jax.jit(optax.apply_updates)
    for i, g in enumerate(grads):
        if set_by_step is not None:
            state.hyperparams.update(set_by_step(i))
        updates, state = update(g, state, params)
        params = apply(params, updates)
    return params, state


def reference_after(config, params, grads, **settings):
    """The same on the reference, with learning rates ``lr(i)``."""
    params = {n: np.asarray(x) for n, x in params.items()}
    state = reference.init(params, config)
    lr = settings.get("lr", lambda i: None)
    for i, g in enumerate(grads):
        g = {n: np.asarray(a) for n, a in g.items()}
        params, state = reference.step(params, g, state, config, lr=lr(i))
    return params, dict(state.momentum)


def test_static_betas_keep_every_bit(arrays, assert_same):
    static = ("b1", "b2", "weight_decay")
    injected = optax.inject_hyperparams(lion, static_args=static, hyperparam_dtype=jnp.float32)(
        learning_rate=1e-2, weight_decay=0.1
    )
    grads = [arrays(20 + i) for i in range(5)]
    params, state = train(injected, arrays(4), grads)
    config = LionConfig(lr=np.float32(1e-2), weight_decay=0.1)
    assert_same((params, state.inner_state.mu), reference_after(config, arrays(4), grads))


def test_a_rate_that_is_set_and_one_that_is_scheduled(arrays, assert_same):
    rates = [0.5, 0.25, 0.0, 0.125]
    grads = [arrays(20 + i) for i in range(4)]
    due = reference_after(LionConfig(), arrays(4), grads, lr=lambda i: rates[i])
    inject = optax.inject_hyperparams(lion, static_args=("b1", "b2"))

    by_hand = inject(learning_rate=1.0)
    params, state = train(by_hand, arrays(4), grads, lambda i: {"learning_rate": rates[i]})
    assert_same((params, state.inner_state.mu), due)

    scheduled = inject(learning_rate=lambda count: jnp.array(rates)[count])
    params, state = train(scheduled, arrays(4), grads)
    assert_same((params, state.inner_state.mu), due)


def test_one_trace_serves_every_rate_and_every_decay(arrays):
    traces = []
    injected = optax.inject_hyperparams(lion)(learning_rate=1e-2, weight_decay=0.1)

    @jax.jit
    def step(params, state, grads):
        traces.append(None)
        updates, state = injected.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params = arrays(1)
    state = injected.init(params)
    for i in range(4):
        state.hyperparams["learning_rate"] = jnp.float32(1e-2 / (i + 1))
        state.hyperparams["weight_decay"] = jnp.float32(0.1 * i)  # none at first
        params, state = step(params, state, arrays(2 + i))
    assert len(traces) == 1


def test_an_injected_decay_of_zero_is_no_decay(arrays):
    """L-009: 0*x would be NaN for an infinite parameter."""
    injected = optax.inject_hyperparams(lion)(learning_rate=0.5, weight_decay=0.0)
    params = {"x": jnp.array([jnp.inf, 1.0])}
    params, _ = train(injected, params, [{"x": jnp.ones(2)}])
    assert params["x"].tolist() == [jnp.inf, 0.5]


def test_numbers_of_all_options_can_be_injected(arrays, assert_same):
    options = {
        "weight_decay": 0.25,
        "decay": "independent",
        "lr_peak": 0.5,
        "clipvalue": 0.5,
        "ema_decay": 0.75,
        "cautious": True,
        "cautious_cap": 2.0,
        "nonlinearity": "clip",
        "steepness": 0.5,
        "loss_scale": 4.0,
    }
    injected = optax.inject_hyperparams(lion)(2.0**-4, 0.5, 0.75, **options)
    params, state = train(injected, arrays(1), [arrays(2), arrays(3)])
    plain = optax.inject_hyperparams(
        lambda learning_rate: lion(learning_rate, 0.5, 0.75, **options)
    )
    due, due_state = train(plain(2.0**-4), arrays(1), [arrays(2), arrays(3)])
    assert_same((params, state.inner_state), (due, due_state.inner_state))


def test_whole_numbers_must_be_static(arrays):
    names = ("gradient_accumulation_steps", "loss_scale_growth_interval")
    options = {names[0]: 2, "loss_scale": "dynamic", names[1]: 5}
    with pytest.raises(ConfigError, match="2 problems: gradient_accumulation_steps is an array"):
        optax.inject_hyperparams(lion)(**options).init(arrays(1))
    injected = optax.inject_hyperparams(lion, static_args=names)(**options)
    _, state = train(injected, arrays(1), [arrays(2)] * 4)
    assert state.inner_state.count == 2


def test_the_state_keeps_its_peak(arrays):
    """L-017: lr_peak belongs to the state, whatever the optimizer at hand was made with."""
    made = lion(0.5, weight_decay=0.5, decay="independent", lr_peak=0.5)
    other = lion(0.5, weight_decay=0.5, decay="independent", lr_peak=0.25)
    params, zero = {"x": jnp.ones(1)}, {"x": jnp.zeros(1)}
    updates, _ = other.update(zero, made.init(params), params)
    assert updates["x"].item() == -0.5
    updates, _ = other.update(zero, other.init(params), params)
    assert updates["x"].item() == -1.0
