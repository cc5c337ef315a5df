"""The step compiled for machines that are not at hand: what is aliased, and in how many passes."""

from importlib.util import find_spec

import jax
import pytest

from lion_ports.jax import fused_lion

OPTIONS = {
    "float32": ("float32", {"weight_decay": 0.1}),
    "bfloat16": ("bfloat16", {"weight_decay": 0.1}),
    "float32-momentum": ("bfloat16", {"mu_dtype": "float32"}),
    "correction": ("bfloat16", {"correction_bits": 8}),
}
MORE = [("bfloat16", {"mu_dtype": "int8"}), ("float32", {"ema_decay": 0.9})]


@pytest.mark.parametrize("platform", ["tpu", "cuda", "rocm"])
@pytest.mark.parametrize(("dtype", "options"), [*OPTIONS.values(), *MORE], ids=str)
def test_parameters_and_state_are_written_over(dtype, options, platform):
    """Lowered for that platform, each is donated to what it becomes."""
    optimizer = fused_lion(**options)
    x = jax.ShapeDtypeStruct((256, 128), dtype)
    state = jax.eval_shape(optimizer.init, x)
    step = jax.jit(optimizer.step, donate_argnums=(0, 2))
    text = step.trace(x, x, state).lower(lowering_platforms=(platform,)).as_text()
    entry = next(line for line in text.splitlines() if "@main(" in line)
    given = entry.split("->")[0].split("%arg")[1:]
    aliased = [int(a.split("tf.aliasing_output = ")[1].split(" ")[0]) for a in given if "tf." in a]
    outputs = len(jax.tree.leaves((x, state)))
    assert aliased == list(range(outputs))
    assert "tf." not in given[1]  # the gradient


TPU = """
import os
os.environ["TPU_SKIP_MDS_QUERY"] = "1"
import re
import jax, jax.numpy as jnp, numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from lion_ports.jax import fused_lion

chips = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
SHAPE = (16384, 4096)

def compiled(devices, dtype, options):
    mesh = Mesh(np.array(devices), ("d",))
    def placed(a):
        spec = P("d") if a.shape == SHAPE else P()
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=NamedSharding(mesh, spec))
    optimizer = fused_lion(**options)
    x = jax.ShapeDtypeStruct(SHAPE, dtype)
    x, state = jax.tree.map(placed, (x, jax.eval_shape(optimizer.init, x)))
    step = jax.jit(optimizer.step, donate_argnums=(0, 2)).lower(x, x, state).compile()
    held = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves((x, state)) if a.shape == SHAPE)
    return step, held // len(devices)

for devices in (chips[:1], chips):
    for dtype, options in OPTIONS.values():
        step, held = compiled(devices, dtype, options)
        memory, text = step.memory_analysis(), step.as_text()
        assert memory.alias_size_in_bytes >= held, (dtype, options)
        assert memory.temp_size_in_bytes < 2**20, (dtype, options)
        assert not re.search(r"(all-[a-z-]+|collective-[a-z-]+|reduce-scatter)\\(", text)
        shard = f"[{SHAPE[0] // len(devices)},{SHAPE[1]}]"
        entry = text[text.index("ENTRY"):].splitlines()[1:]
        passes = [line for line in entry if shard in line.split(" = ")[-1].split("(%")[0]
            and not re.search(r" (parameter|get-tuple-element|tuple|bitcast)\\(", line)]
        assert len(passes) == 1, (dtype, options, passes)
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs libtpu, the compiler for TPUs")
def test_a_tpu_makes_one_pass_over_memory(python):
    """One fusion reads and writes all of a parameter, in place; so a kernel has nothing to add."""
    python(f"OPTIONS = {OPTIONS}\n" + TPU)
