"""The step where XLA on the CPU was told to make one loop of several outputs (docs/jax.md)."""

import pytest
from usual import slow

FLAG = "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion"

PROGRAM = """
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from lion_ports import LionConfig, reference
from lion_ports.jax import fused_lion

SHAPES = {"w": (512, 1024), "b": (6,)}
mesh = Mesh(np.array(jax.devices()), ("d",))
rng = np.random.Generator(np.random.Philox(5))
draw = lambda: {n: rng.standard_normal(s).astype(jnp.dtype(DTYPE)) for n, s in SHAPES.items()}
place = lambda tree: jax.device_put(tree, NamedSharding(mesh, P("d")))

numpy, config = draw(), LionConfig(1e-2, weight_decay=0.1, momentum_dtype=MOMENTUM)
optimizer = fused_lion(1e-2, weight_decay=0.1, mu_dtype=MOMENTUM)
params, due = place(numpy), reference.init(numpy, config)
state = optimizer.init(params)
step = jax.jit(optimizer.step, donate_argnums=(0, 2)).lower(params, params, state).compile()

large = f"[{512 // mesh.size},1024]"
entry = step.as_text().split("ENTRY")[1].splitlines()
loops = [made for line in entry for made in re.findall(r"(.*) fusion\\(", line) if large in made]
assert len(loops) == LOOPS, loops
assert not re.search(r" (copy|all-[a-z-]+|collective-[a-z-]+)\\(", "".join(entry))
assert step.memory_analysis().temp_size_in_bytes < 4096

bits = lambda a: np.asarray(a).view(f"u{a.dtype.itemsize}")
for _ in range(4):
    g = draw()
    numpy, due = reference.step(numpy, g, due, config, flush=True)
    params, state = step(params, place(g), state)
    for name in SHAPES:
        assert np.array_equal(bits(params[name]), bits(numpy[name])), name
        assert np.array_equal(bits(state.mu[name]), bits(due.momentum[name])), name
"""


@pytest.mark.parametrize(
    ("dtype", "devices"),
    [
        ("float32", 1),
        ("bfloat16", 2),
        slow("float16", 1),
        slow("float32", 2),
        slow("bfloat16", 1),
        slow("float16", 2),
    ],
)
def test_parameter_and_momentum_are_written_in_one_loop(dtype, devices, python):
    given = f"DTYPE, MOMENTUM, LOOPS = {dtype!r}, None, 1\n"
    python(given + PROGRAM, devices, FLAG)


def test_a_momentum_of_another_dtype_waits_as_without_the_flag(python):
    """XLA makes no one loop of two dtypes: without an order it would copy."""
    python("DTYPE, MOMENTUM, LOOPS = 'float32', 'bfloat16', 2\n" + PROGRAM, flags=FLAG)


def test_there_are_two_loops_without_the_flag(python):
    python("DTYPE, MOMENTUM, LOOPS = 'float32', None, 2\n" + PROGRAM)
