"""Small state: a momentum of 8 bits (L-031) and corrections of bfloat16 (L-032)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_state import LR, SHAPES, stream
from usual import slow

from lion_ports import ConfigError, LionConfig, reference
from lion_ports.errors import StateError
from lion_ports.jax import (
    averaged_params,
    export_state,
    fused_lion,
    import_state,
    lion,
    scale_by_lion,
)

pytestmark = pytest.mark.usefixtures("strict")


# XLA takes seconds for each: no dimensions, parts of blocks, and blocks that rows do not end with.
FEW, EVERY = ("p0", "p3", "p5", "p7"), tuple(f"p{i}" for i in range(len(SHAPES)))


def part_of(names, params, grads):
    """Of what stream() gives, these parameters and their gradients."""
    params, *grads = ({name: tree[name] for name in names} for tree in (params, *grads))
    return params, grads


def held(state):
    """All arrays of a state, by what they are and of which parameter."""
    trees = {
        "momentum": state.mu,
        "momentum_scale": state.mu_scale or {},
        "correction": state.correction or {},
        "average": state.average or {},
    }
    return {what: {n: a for n, a in tree.items() if a is not None} for what, tree in trees.items()}


def due(state):
    names = ("momentum", "momentum_scale", "correction", "average")
    return {name: dict(getattr(state, name)) for name in names}


INT8 = {"momentum_dtype": "int8"}
AVERAGED = {"ema_decay": 0.75, "ema_overwrite_every": 3}
RUNS = [
    ("float32", INT8, 1),
    ("bfloat16", {"correction_bits": 16, **AVERAGED}, 1),
    ("bfloat16", INT8 | {"correction_bits": 8, "gradient_accumulation_steps": 2}, 1),
]
SLOW = [
    ("float16", INT8, 1),
    ("bfloat16", {"correction_bits": 8}, 1),
    ("bfloat16", INT8 | {"correction_bits": 8}, 0),
    ("bfloat16", INT8 | {"correction_bits": 8, "cautious": True, **AVERAGED}, 1),
    ("bfloat16", INT8 | {"correction_bits": 16, "nonfinite": "skip"}, 1),
]


@pytest.mark.parametrize(
    ("dtype", "options", "compiled", "names"),
    [*((*run, FEW) for run in RUNS), *(slow(*run, EVERY) for run in RUNS + SLOW)],
    ids=lambda value: str(len(value)) if isinstance(value, tuple) else str(value),
)
def test_equals_the_reference(dtype, options, compiled, names, assert_same):
    params, grads = part_of(names, *stream(dtype, 12 if compiled else 3))
    config = LionConfig(LR, weight_decay=0.1, **options)
    options = dict(options)
    optimizer = fused_lion(
        LR, weight_decay=0.1, mu_dtype=options.pop("momentum_dtype", None), **options
    )
    numpy, mine = reference.init(params, config), jax.tree.map(jnp.asarray, params)
    state = optimizer.init(mine)
    step = jax.jit(optimizer.step, donate_argnums=(0, 2)) if compiled else optimizer.step
    for g in grads:
        params, numpy = reference.step(params, g, numpy, config, flush=True)
        mine, state = step(mine, jax.tree.map(jnp.asarray, g), state)
        assert_same((mine, held(state)), (params, due(numpy)))
    assert (state.count, state.skipped) == (numpy.count, numpy.skipped)


def test_float64_and_complex_parameters(assert_same):
    """The one keeps a float32 in codes, the other keeps its momentum complex."""
    rng = np.random.Generator(np.random.Philox(12))
    draw = rng.standard_normal((2, 150))
    params = {"p": draw[0], "z": (draw[0] + 1j * draw[1]).astype(np.complex64)}
    config = LionConfig(LR, momentum_dtype="int8", correction_bits=8)
    numpy = reference.init(params, config)
    with jax.enable_x64(True):
        optimizer = fused_lion(LR, mu_dtype="int8", correction_bits=8)
        mine = jax.tree.map(jnp.asarray, params)
        state, step = optimizer.init(mine), jax.jit(optimizer.step)
        for _ in range(3):
            params, numpy = reference.step(params, params, numpy, config, flush=True)
            mine, state = step(mine, mine, state)
            assert_same((mine, held(state)), (params, due(numpy)))
    assert state.mu["z"].dtype == np.complex64


def test_the_transform_has_the_same_momentum(assert_same):
    params, grads = part_of(FEW, *stream("float32", 4))
    params, grads = jax.tree.map(jnp.asarray, (params, grads))
    transform, fused = lion(LR, mu_dtype="int8"), fused_lion(LR, mu_dtype="int8")
    state, other = transform.init(params), fused.init(params)
    scaling = scale_by_lion(mu_dtype="int8")
    scaled, update = scaling.init(params), jax.jit(transform.update)
    for g in grads:
        _, state = update(g, state, params)
        params, other = jax.jit(fused.step)(params, g, other)
        _, scaled = jax.jit(scaling.update)(g, scaled, params)
        assert_same(held(state), held(other))
        assert_same(held(scaled), held(other))


@pytest.mark.parametrize("bits", [8, slow(16)])
def test_what_is_left_alone_keeps_every_bit(bits, assert_same):
    """Codes that are read and written again would be rounded again (L-003, L-019)."""
    params, grads = part_of(FEW, *stream("bfloat16", 3))
    params, grads = jax.tree.map(jnp.asarray, (params, grads))
    optimizer = fused_lion(LR, mu_dtype="int8", correction_bits=bits, nonfinite="skip")
    step = jax.jit(optimizer.step)
    before = step(params, grads[0], optimizer.init(params))
    after = step(before[0], grads[2], before[1])  # one that is not finite
    assert after[1].skipped == 1
    assert_same((after[0], held(after[1])), (before[0], held(before[1])))
    after = step(before[0], grads[1], before[1])  # one without a gradient of p7
    assert_same(after[1].mu_scale["p7"], before[1].mu_scale["p7"])
    assert_same(after[1].mu["p7"], before[1].mu["p7"])
    assert_same(after[1].correction["p7"], before[1].correction["p7"])


def test_a_correction_keeps_steps_that_bfloat16_loses():
    x, g = jnp.ones(3, jnp.bfloat16), jnp.ones(3, jnp.bfloat16)
    plain, corrected = fused_lion(2.0**-12), fused_lion(2.0**-12, correction_bits=16)
    step, corrected_step = jax.jit(plain.step), jax.jit(corrected.step)
    still, state = x, plain.init(x)
    moved, small = x, corrected.init(x)
    for _ in range(32):
        still, state = step(still, g, state)
        moved, small = corrected_step(moved, g, small)
    assert still.tolist() == [1] * 3
    assert moved.tolist() == [1 - 32 * 2.0**-12] * 3


def test_averages_follow_the_whole_parameter():
    x = jnp.ones(2, jnp.bfloat16)
    optimizer = fused_lion(2.0**-12, correction_bits=16, ema_decay=0.5)
    new, state = optimizer.step(x, x, optimizer.init(x))
    assert state.average.tolist() == [1 - 2.0**-13] * 2
    assert averaged_params(state, new).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("dtype", "options", "each"),
    [
        ("float32", {"mu_dtype": "int8"}, 1 + 2 / 128),
        ("bfloat16", {"mu_dtype": "int8", "correction_bits": 8}, 2 + 2 / 128),
        ("bfloat16", {"correction_bits": 16}, 4),
    ],
    ids=str,
)
def test_bytes_of_a_parameter(dtype, options, each):
    x = jnp.ones((256, 512), dtype)
    state = fused_lion(**options).init(x)
    kept = sum(a.nbytes for a in jax.tree.leaves((state.mu, state.mu_scale, state.correction)))
    assert kept == each * x.size


@pytest.mark.parametrize(
    ("dtype", "options", "scratch"),
    [
        ("float32", {"mu_dtype": "int8"}, 0),
        ("bfloat16", {"mu_dtype": "int8"}, 0),
        ("bfloat16", {"correction_bits": 16}, 2),  # a copy of the correction
        ("bfloat16", {"mu_dtype": "int8", "correction_bits": 8}, 1),
    ],
    ids=str,
)
def test_a_donated_step_writes_into_what_it_was_given(dtype, options, scratch):
    x = jnp.ones((512, 1024), dtype)
    optimizer = fused_lion(weight_decay=0.1, **options)
    state = optimizer.init(x)
    step = jax.jit(optimizer.step, donate_argnums=(0, 2))
    memory = step.lower(x, x, state, 1e-3).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= sum(a.nbytes for a in jax.tree.leaves((x, state)))
    assert memory.temp_size_in_bytes < (scratch + 0.25) * x.size  # and scales, partly


SHARDED = """
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from lion_ports.jax import fused_lion

mesh = Mesh(np.array(jax.devices()), ("d",))
SHAPES = {"rows": (8, 256), "odd": (6, 100), "columns": (4, 256), "vector": (300,)}
SPECS = {"rows": P("d"), "odd": P("d"), "columns": P(None, "d"), "vector": P("d")}
rng = np.random.Generator(np.random.Philox(3))
draw = lambda: {n: jnp.asarray(rng.standard_normal(s), jnp.bfloat16) for n, s in SHAPES.items()}
place = lambda tree: {n: jax.device_put(a, NamedSharding(mesh, SPECS[n])) for n, a in tree.items()}
optimizer = fused_lion(1e-2, weight_decay=0.1, mu_dtype="int8", correction_bits=8)
alone, grads = draw(), [draw() for _ in range(3)]
params = place(alone)
state, due = optimizer.init(params), optimizer.init(alone)
rows = lambda tree: {"rows": tree["rows"]}
text = jax.jit(optimizer.step).lower(rows(params), rows(place(grads[0])),
    optimizer.init(rows(params))).compile().as_text()
sent = re.findall(r"(all-[a-z-]+|collective-[a-z-]+|reduce-scatter)\\(", text)
assert not sent, sent
step = jax.jit(optimizer.step, donate_argnums=(0, 2))
for g in grads:
    params, state = step(params, place(g), state)
    alone, due = step(alone, g, due)
for a, b in zip(jax.tree.leaves((params, state)), jax.tree.leaves((alone, due)), strict=True):
    assert a.dtype == b.dtype and np.array_equal(np.asarray(a), np.asarray(b))
"""


def test_parameters_divided_among_devices_have_the_same_bits(python):
    """And where rows are whole blocks, nothing is sent."""
    python(SHARDED, devices=2)


def test_vmap_rounds_each_model_as_it_would_alone(assert_same):
    optimizer = fused_lion(LR, mu_dtype="int8", correction_bits=8)
    models = [jnp.full((130,), k, jnp.bfloat16) for k in (0.5, 1, 3)]
    stacked = jnp.stack(models)
    state = jax.vmap(optimizer.init)(stacked)
    new, state = jax.jit(jax.vmap(optimizer.step))(stacked, stacked, state)
    for i, x in enumerate(models):
        alone = optimizer.step(x, x, optimizer.init(x))
        assert_same(jax.tree.map(lambda a: a[i], (new, state)), alone)  # noqa: B023


@pytest.mark.parametrize("names", [("small", "other"), ("other", "small")], ids=str)
def test_a_state_that_does_not_go_with_the_options(names):
    x = {"w": jnp.ones(3, jnp.bfloat16)}
    made = {"small": fused_lion(correction_bits=8), "other": fused_lion()}
    first, second = (made[name] for name in names)
    message = "correction of w, which is left behind without" if first is made["small"] else "None"
    with pytest.raises(ConfigError, match=message):
        second.step(x, x, first.init(x))


def test_codes_need_their_scales():
    x = {"w": jnp.ones(130)}
    optimizer = fused_lion(mu_dtype="int8")
    state = optimizer.init(x)
    for scales in (None, {"w": jnp.ones(1, jnp.bfloat16)}, {"w": jnp.ones(2)}, {"w": None}):
        with pytest.raises(ConfigError, match=r"^the mu_scale of w in the state is"):
            optimizer.step(x, x, state._replace(mu_scale=scales))
    with pytest.raises(ConfigError, match=r"^the mu_scale of w .* its momentum float32"):
        optimizer.step(x, x, state._replace(mu=x))
    with pytest.raises(ConfigError, match="the correction of w in the state is int8"):
        fused_lion(correction_bits=8).step(
            x, x, fused_lion().init(x)._replace(correction={"w": jnp.zeros(130, jnp.int8)})
        )


def test_a_transform_cannot_correct():
    with pytest.raises(ConfigError, match=r"^correction_bits .* use fused_lion$"):
        lion(correction_bits=8)
    with pytest.raises(ConfigError, match="correction_bits = 4 is not one of None, 8, 16"):
        fused_lion(correction_bits=4)
    with pytest.raises(ConfigError, match="correction_bits is an array, not a whole number"):
        fused_lion(correction_bits=jnp.array(8))


def test_a_state_that_was_saved(assert_same):
    x = {"w": jnp.ones(130, jnp.bfloat16)}
    small, plain = fused_lion(mu_dtype="int8", correction_bits=8), fused_lion()
    moved, state = small.step(x, x, small.init(x))
    with pytest.raises(StateError, match="with mu_dtype='int8', and this one is without"):
        import_state(export_state(moved, state), x, plain.init(x))
    corrected = fused_lion(correction_bits=8)
    with pytest.raises(StateError, match="with correction_bits, and this one is without"):
        import_state(export_state(moved, corrected.init(moved)), x, plain.init(x))
    # The other way round nothing is missing: the momentum keeps its dtype, as ever.
    _, begun = import_state(export_state(moved, plain.init(moved)), x, small.init(x))
    assert begun.mu["w"].dtype == jnp.bfloat16
    assert not begun.correction["w"].any()
    small.step(moved, x, begun)
