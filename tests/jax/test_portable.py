"""The portable state of L-030: of our Lion and of optax's, anywhere inside an optax state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lion_ports import LionConfig, load_state, reference, save_state
from lion_ports.errors import StateError
from lion_ports.jax import export_state, fused_lion, import_state, lion

ALL = {
    "weight_decay": 0.1,
    "decay": "independent",
    "lr_peak": 0.5,
    "loss_scale": "dynamic",
    "gradient_accumulation_steps": 3,
    "ema_decay": 0.9,
    "nonfinite": "skip",
}


def run(optimizer, params, state, grads):
    step = jax.jit(optimizer.step)
    for g in grads:
        params, state = step(params, g, state)
    return params, state


SMALL = {"mu_dtype": "int8", "correction_bits": 8}


@pytest.mark.parametrize("options", [{}, {"mu_dtype": "bfloat16"}, SMALL, ALL], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_goes_on_from_a_file(options, dtype, tmp_path, arrays, assert_same):
    optimizer = fused_lion(1e-2, **options)
    grads = [arrays(2 + i, dtype) for i in range(7)]
    grads[3]["b"] = None  # a window in which one parameter has fewer gradients
    grads[1]["w"] = grads[1]["w"].at[0, 0].set(jnp.inf if "nonfinite" in options else 1)
    params, state = run(optimizer, arrays(1, dtype), optimizer.init(arrays(1, dtype)), grads[:5])
    save_state(tmp_path / "state.safetensors", export_state(params, state))
    fresh = arrays(9, dtype)
    restored = import_state(
        load_state(tmp_path / "state.safetensors"), fresh, optimizer.init(fresh)
    )
    due = run(optimizer, params, state, grads[5:])
    assert_same(run(optimizer, *restored, grads[5:]), due)


def test_the_reference_goes_on_with_the_same_bits(arrays, assert_same):
    config = LionConfig(1e-2, **ALL)
    optimizer = fused_lion(1e-2, **ALL)
    grads = [arrays(2 + i) for i in range(7)]
    params, state = run(optimizer, arrays(1), optimizer.init(arrays(1)), grads[:5])
    saved = export_state(params, state)
    numpy, numpy_state = reference.import_state(saved)
    for g in grads[5:]:
        params, state = optimizer.step(params, g, state)
        g = {n: np.asarray(a) for n, a in g.items()}
        numpy, numpy_state = reference.step(numpy, g, numpy_state, config, flush=True)
    assert_same(
        (params, state.mu, state.average), (numpy, numpy_state.momentum, numpy_state.average)
    )


def test_a_state_of_optax_lion_is_taken_over(arrays, assert_same):
    theirs = optax.chain(optax.clip(1.0), optax.lion(1e-2, mu_dtype="bfloat16"))
    params = {"layers": [arrays(1), arrays(2)]}
    _, state = theirs.update(params, theirs.init(params), params)
    saved = export_state(params, state)
    assert list(saved.parameters) == ["layers.0.b", "layers.0.w", "layers.1.b", "layers.1.w"]
    ours = lion(1e-2)
    _, restored = import_state(saved, params, ours.init(params))
    assert_same(restored.mu, state[1][0].mu)
    assert restored.count == 1
    _, back = import_state(export_state(params, restored), params, theirs.init(params))
    assert_same(back, state)


def test_lions_of_a_partition_are_one_state(arrays, assert_same):
    labels = {"w": "fast", "b": "slow", "frozen": "none"}
    lions = {
        "fast": lion(1e-2, weight_decay=0.1, decay="independent"),
        "slow": lion(1e-3, weight_decay=0.1, decay="independent"),
        "none": optax.set_to_zero(),
    }
    optimizer = optax.partition(lions, labels)
    params = {**arrays(1), "frozen": jnp.ones(2)}
    _, state = optimizer.update(params, optimizer.init(params), params)
    saved = export_state(params, state)
    assert set(saved.parameters) == {"w", "b"}
    assert saved.lr_peak == {"w": np.float32(1e-2), "b": np.float32(1e-3)}
    fresh = {**arrays(2), "frozen": jnp.zeros(2)}
    moved, restored = import_state(saved, fresh, optimizer.init(fresh))
    assert_same(moved, {**arrays(1), "frozen": jnp.zeros(2)})
    assert_same(restored, state)


def test_an_option_that_is_new_begins_with_the_restored_parameters(arrays, assert_same):
    plain, averaging = fused_lion(1e-2), fused_lion(1e-2, ema_decay=0.5)
    saved = export_state(arrays(1), plain.init(arrays(1)))
    _, state = import_state(saved, arrays(2), averaging.init(arrays(2)))
    assert_same(state.average, arrays(1))


def test_it_is_put_where_the_fresh_state_was(arrays):
    mesh = jax.make_mesh((1,), ("d",))
    here = jax.NamedSharding(mesh, jax.P("d"))
    params = jax.device_put(arrays(1), here)
    optimizer = fused_lion()
    moved, state = import_state(
        export_state(arrays(1), optimizer.init(arrays(1))),
        params,
        jax.device_put(optimizer.init(params), jax.NamedSharding(mesh, jax.P())),
    )
    assert moved["w"].sharding == here
    assert state.mu["w"].sharding == state.count.sharding == jax.NamedSharding(mesh, jax.P())


def test_what_does_not_fit_is_refused_in_one_sentence(arrays):
    params = arrays(1)
    plain, accumulating = fused_lion(), fused_lion(gradient_accumulation_steps=2)
    saved = export_state(params, plain.init(params))

    def refused(message, portable, tree, optimizer=plain):
        with pytest.raises(StateError, match=message):
            import_state(portable, tree, optimizer.init(tree))

    refused("the saved state has no parameter 'c'", saved, {**params, "c": jnp.ones(1)})
    refused("has 'b', which is no parameter of this Lion", saved, {"w": params["w"]})
    refused(r"'b' was saved with shape \(3,\), and has \(4,\)", saved, {**params, "b": jnp.ones(4)})
    _, halfway = accumulating.step(params, params, accumulating.init(params))
    refused(
        "within an update, with 1 micro-steps done, and this optimizer makes an update of each",
        export_state(params, halfway),
        params,
    )
    averaging = fused_lion(ema_decay=0.5)
    average = export_state(params, averaging.init(params))
    refused("an optimizer with ema_decay, and this one is without", average, params)
    half = arrays(1, "bfloat16")
    refused("'b' was saved as float32, and is bfloat16; convert the model", saved, half)
    narrow = export_state(half, plain.init(half))
    refused("'b' was saved as bfloat16, and is float32; convert the model", narrow, params)
    with jax.enable_x64(True):
        double = {"x": jnp.ones(2, jnp.float64)}
        wide = export_state(double, plain.init(double))
    refused("'x' was saved as float64, which JAX has only with", wide, {"x": jnp.ones(2)})
    with pytest.raises(StateError, match="there is no Lion in this tuple"):
        export_state(params, optax.adam(1e-3).init(params))
    twice = {"a": {"b": jnp.ones(1)}, "a.b": jnp.ones(1)}
    with pytest.raises(StateError, match="two parameters have the path"):
        export_state(twice, plain.init(twice))
    with pytest.raises(StateError, match="which makes them one, cannot be exported"):
        export_state(params, optax.flatten(lion()).init(params))
