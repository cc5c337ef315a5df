"""Parameters that are divided among devices: nothing is sent that need not be."""

import textwrap

import pytest
from usual import slow

HEAD = """
import re
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from lion_ports.jax import averaged_params, fused_lion

mesh = Mesh(np.array(jax.devices()), ("d",))
assert len(jax.devices()) == 4
rng = np.random.Generator(np.random.Philox(3))
draw = lambda: {n: rng.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()}
SHAPES = {"rows": (8, 16), "columns": (16, 8), "whole": (5,)}
SPECS = {"rows": P("d"), "columns": P(None, "d"), "whole": P()}
place = lambda tree: {n: jax.device_put(a, NamedSharding(mesh, SPECS[n])) for n, a in tree.items()}
"""

PROGRAM = """
optimizer = fused_lion(1e-2, weight_decay=0.1, **options)
step = jax.jit(optimizer.step, donate_argnums=(0, 2))
alone = draw()
grads = [draw() for _ in range(4)]
params = place(alone)
state, due = optimizer.init(params), optimizer.init(alone)
text = step.lower(params, place(grads[0]), state).compile().as_text()
sent = set(re.findall(r"\\b(all-[a-z-]+|collective-[a-z-]+|reduce-scatter)\\(", text))
assert sent == EXPECTED, (options, sent)

for g in grads:
    params, state = step(params, place(g), state)
    alone, due = jax.jit(optimizer.step)(alone, g, due)
for name, x in params.items():
    for tree in (params, state.mu, state.average, state.grad_sum):
        if tree is not None:
            assert tree[name].sharding.is_equivalent_to(x.sharding, x.ndim), (options, name)
    assert np.array_equal(x, alone[name]), (options, name)
    assert np.array_equal(state.mu[name], due.mu[name]), (options, name)
"""


def run(python, options, expected, program=PROGRAM):
    """With each of the options, one after the other in one process."""
    loop = f"for options in {options}:\n{textwrap.indent(program, '    ')}"
    python(f"EXPECTED = {expected}\n{HEAD}{loop}", devices=4)


def test_a_step_communicates_nothing(python):
    many = {
        "gradient_accumulation_steps": 2,
        "ema_decay": 0.5,
        "loss_scale": 4.0,
        "cautious_decay": True,
        "clipvalue": 0.5,
        "nonlinearity": "clip",
    }
    run(python, [{}, many], set())


def test_counts_and_checks_are_reductions_and_nothing_else(python):
    run(python, [{"cautious": True}, {"nonfinite": "skip"}], {"all-reduce"})


def test_norms_are_reductions_and_nothing_else(python):
    """Their sums are formed in another order than on one device, so that bits may differ."""
    faithful = PROGRAM.replace("np.array_equal(", "np.allclose(")
    run(python, [{"clipnorm": 0.5}, {"nonlinearity": "l2"}], {"all-reduce"}, faithful)


SMALL = """
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from lion_ports.jax import fused_lion

mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Explicit,))
rng = np.random.Generator(np.random.Philox(4))
optimizer = fused_lion(1e-2, weight_decay=0.1, mu_dtype="int8", correction_bits=8)
step = jax.jit(optimizer.step, donate_argnums=(0, 2))

for shape, spec, sends in CASES:
    placed = lambda a: jax.device_put(jnp.copy(a), NamedSharding(mesh, P(*spec)))
    draw = lambda: jnp.asarray(rng.standard_normal(shape), jnp.bfloat16)
    alone, grads = draw(), [draw() for _ in range(3)]
    x, scanned = placed(alone), placed(alone)
    state, due = optimizer.init(x), optimizer.init(alone)
    compiled = step.lower(x, placed(grads[0]), state).compile()
    sent = re.search(r"(all-[a-z-]+|collective-[a-z-]+|reduce-scatter)\\(", compiled.as_text())
    assert bool(sent) == sends, (shape, sent)

    body = lambda carry, g: (optimizer.step(carry[0], g, carry[1]), None)
    stacked = jax.device_put(jnp.stack(grads), NamedSharding(mesh, P(None, *spec)))
    scanned = jax.lax.scan(body, (scanned, optimizer.init(scanned)), stacked)[0]
    for g in grads:
        x, state = compiled(x, placed(g), state)
        alone, due = step(alone, g, due)
    for tree in ((x, state), scanned):
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves((alone, due)), strict=True):
            assert a.dtype == b.dtype and np.array_equal(a, b), (shape, spec)
"""


DIVIDED = [((4, 4, 256), ("d",), False), ((64, 512), (None, "d"), True)]
ALIKE = [
    ((64, 8), (), False),
    ((1000,), ("d",), True),
    ((64, 128), ("d",), False),
    ((64, 100), ("d",), True),
]


@pytest.mark.parametrize(
    "cases",
    [pytest.param(DIVIDED, id="some"), slow(ALIKE, id="alike")],
)
def test_small_state_is_divided_on_a_mesh_of_explicit_axes(cases, python):
    """Which refuses to flatten what is divided; rows of whole blocks need not be flattened."""
    python(f"CASES = {cases}\n" + SMALL, devices=4)
