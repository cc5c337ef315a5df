"""One of several processes that train together: python process.py NUMBER OF PORT FOLDER."""

import sys
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lion_ports import StateError, save_state
from lion_ports.jax import export_state, fused_lion

number, count, port = (int(word) for word in sys.argv[1:4])
folder = Path(sys.argv[4])
if count > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", count, number)
assert (jax.process_index(), jax.process_count()) == (number, count)
mesh = Mesh(np.array(jax.devices()), ("d",))

rng = np.random.Generator(np.random.Philox(7))
SHARDS = {"rows": PartitionSpec("d"), "whole": PartitionSpec()}


def draw():
    """Small whole numbers: their sums of squares are exact in any order (L-027)."""
    return {"rows": rng.integers(-8, 9, (8, 6)), "whole": rng.integers(-8, 9, 5)}


def place(tree):
    """Arrays of which each process holds its part alone."""
    return {
        name: jax.make_array_from_callback(
            a.shape, NamedSharding(mesh, SHARDS[name]), lambda i, a=a: a.astype(np.float32)[i]
        )
        for name, a in tree.items()
    }


optimizer = fused_lion(2.0**-5, weight_decay=0.1, cautious=True, global_clipnorm=0.5)
step = jax.jit(optimizer.step, donate_argnums=(0, 2))
params = place(draw())
state = jax.jit(optimizer.init)(params)
for _ in range(4):
    params, state = step(params, place(draw()), state)
assert len(params["rows"].addressable_shards) == 1

refused = ""
try:
    export_state(params, state)
except StateError as error:
    refused = str(error)
assert ("gather parameters and state first" in refused) == (count > 1), refused

whole = multihost_utils.process_allgather((params, state), tiled=True)
if number == 0:
    save_state(folder / f"{count}.safetensors", export_state(*whole))
