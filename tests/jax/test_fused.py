"""The fused step under the transformations of JAX: jit, donation, scan, vmap, grad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from usual import covering, in_pairs, slow

from lion_ports.jax import fused_lion

pytestmark = pytest.mark.usefixtures("strict")


def donated(optimizer):
    return jax.jit(optimizer.step, donate_argnums=(0, 2))


# float16 is left out: there XLA on the CPU computes the parameter twice, and copies for it.
DONATED = [
    {},
    {"weight_decay": 0.1, "mask": {"w": True, "b": False}},
    {"weight_decay": 0.1, "decay": "independent", "cautious_decay": True, "maximize": True},
    {"mu_dtype": "bfloat16", "nonlinearity": "tanh"},
    {"loss_scale": 8.0, "clipvalue": 0.1},
    {"gradient_accumulation_steps": 4},
    {"ema_decay": 0.9, "ema_overwrite_every": 3},
]


@pytest.mark.parametrize(("options", "dtype"), covering(DONATED, ["float32", "bfloat16"]), ids=str)
def test_a_donated_step_needs_no_temporary_bytes(options, dtype, arrays):
    optimizer = fused_lion(**options)
    params, grads = (arrays(i, dtype, (512, 1024)) for i in (1, 2))
    state = optimizer.init(params)
    held = sum(x.nbytes for x in jax.tree.leaves((params, state)))
    compiled = donated(optimizer).lower(params, grads, state, 1e-3).compile()
    memory = compiled.memory_analysis()
    assert memory.temp_size_in_bytes <= (256 if options else 0)  # a few scalars at most
    assert memory.alias_size_in_bytes >= held
    compiled(params, grads, state, 1e-3)
    assert all(x.is_deleted() for x in jax.tree.leaves((params, state)))


def test_a_donated_momentum_stays_where_it_is(arrays):
    optimizer = fused_lion()
    params, grads = arrays(1), arrays(2)
    state = optimizer.init(params)
    where = state.mu["w"].unsafe_buffer_pointer(), params["w"].unsafe_buffer_pointer()
    params, state = donated(optimizer)(params, grads, state)
    assert (state.mu["w"].unsafe_buffer_pointer(), params["w"].unsafe_buffer_pointer()) == where


def test_one_trace_serves_every_learning_rate(arrays):
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


DTYPES = ("float32", "bfloat16", "float16")
DECAY = {"weight_decay": 0.1}
OPTIONS = {
    "weight_decay": 0.1,
    "decay": "independent",
    "loss_scale": "dynamic",
    "gradient_accumulation_steps": 2,
    "ema_decay": 0.9,
}


@pytest.mark.parametrize(("x", "g", "m"), in_pairs(DTYPES, DTYPES, (None, "float32", "bfloat16")))
def test_the_carry_of_a_scan_keeps_its_dtypes(x, g, m, arrays):
    optimizer = fused_lion(1e-2, mu_dtype=m, **OPTIONS)
    params = arrays(4, x)
    carry = params, optimizer.init(params)
    new = jax.eval_shape(optimizer.step, params, arrays(5, g), carry[1])
    assert jax.tree.map(lambda a: (a.shape, a.dtype), new) == jax.tree.map(
        lambda a: (a.shape, a.dtype), carry
    )
    assert carry[1].mu["w"].dtype == (m or x)


def one_by_one(optimizer, params, grads):
    state = optimizer.init(params)
    for g in grads:
        params, state = jax.jit(optimizer.step)(params, g, state)
    return params, state


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        slow("float32", DECAY, id="float32-decay"),
        pytest.param("bfloat16", DECAY, id="bfloat16-decay"),
        pytest.param("float32", OPTIONS, id="float32-many"),
        slow("bfloat16", OPTIONS, id="bfloat16-many"),
    ],
)
def test_steps_in_one_program_are_the_steps_one_by_one(dtype, options, arrays, assert_same):
    """Scanned, unrolled, and with the state made in the program, where its zeros are known."""
    optimizer = fused_lion(1e-2, **options)
    params, grads = arrays(6, dtype), [arrays(7 + i, dtype) for i in range(4)]
    due = one_by_one(optimizer, params, grads)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *grads)

    def scanned(params, stacked):
        def body(carry, g):
            return optimizer.step(carry[0], g, carry[1]), None

        return jax.lax.scan(body, (params, optimizer.init(params)), stacked)[0]

    def unrolled(params, grads):
        state = optimizer.init(params)
        for g in grads:
            params, state = optimizer.step(params, g, state)
        return params, state

    assert_same(scanned(params, stacked), due)
    assert_same(jax.jit(scanned)(params, stacked), due)
    assert_same(jax.jit(unrolled)(params, grads), due)


def test_a_sum_begins_at_plus_zero_in_a_program_that_sees_it_begin():
    """L-025: 0 + -0 is 0, and XLA would take the gradient itself."""
    optimizer = fused_lion(gradient_accumulation_steps=2)

    @jax.jit
    def first(x, g):
        return optimizer.step(x, g, optimizer.init(x))[1].grad_sum

    assert not jnp.signbit(first(jnp.ones(2), jnp.array([-0.0, 0.0]))).any()


@pytest.mark.parametrize(
    "options",
    [slow(DECAY, id="decay"), pytest.param(OPTIONS, id="many")],
)
def test_vmap_trains_several_models_at_once(options, arrays, assert_same):
    optimizer = fused_lion(1e-2, **options)
    models, grads = [arrays(i) for i in range(3)], [arrays(10 + i) for i in range(3)]

    def stack(trees):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    params, state = stack(models), jax.vmap(optimizer.init)(stack(models))
    for _ in range(2):
        params, state = jax.jit(jax.vmap(optimizer.step))(params, stack(grads), state)
    alone = [one_by_one(optimizer, x, [g, g]) for x, g in zip(models, grads, strict=True)]
    assert_same((params, state), stack(alone))


def test_derivatives_go_through_a_step(arrays):
    """With respect to learning rate, parameter and gradient, as in learned optimization."""
    lr, wd, b2 = 0.25, 0.5, 0.75
    optimizer = fused_lion(weight_decay=wd, b1=0.5, b2=b2)
    x, g = jnp.array([1.0, -2.0]), jnp.array([3.0, 0.5])
    state = optimizer.init(x)

    def moved(x, g, lr):
        x, new = optimizer.step(x, g, state, lr)
        return jnp.sum(x), jnp.sum(new.mu)

    by_x, by_g, by_lr = jax.jit(jax.grad(lambda *a: moved(*a)[0], (0, 1, 2)))(x, g, lr)
    np.testing.assert_array_equal(by_x, [1 - lr * wd] * 2)
    np.testing.assert_array_equal(by_g, [0, 0])  # the sign is flat
    assert by_lr == -np.sum(np.sign(g) + wd * x)
    by_g = jax.grad(lambda *a: moved(*a)[1], 1)(x, g, lr)
    np.testing.assert_array_equal(by_g, [1 - b2] * 2)


def test_a_schedule_sees_the_updates_done_before():
    optimizer = fused_lion(lambda count: 0.5 / (count.astype(jnp.float32) + 1))
    x = jnp.ones(1)
    state = optimizer.init(x)
    for _ in range(2):
        x, state = optimizer.step(x, jnp.ones(1), state)
    assert x.item() == 1 - 0.5 - 0.25


def test_numpy_parameters_and_python_numbers_are_taken():
    optimizer = fused_lion(0.5)
    params = {"x": np.ones(2, np.float32), "y": 1.0}
    moved, _ = optimizer.step(params, params, optimizer.init(params))
    assert moved["x"].tolist() == [0.5, 0.5]
    assert moved["y"].item() == 0.5
