"""What the tests of lion_ports.jax share. All of them need the extra 'jax'."""

import os
import subprocess
import sys

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra 'jax'")
pytest.importorskip("optax", reason="needs the extra 'jax'")

collect_ignore = ["workers"]  # programs, in which there are no doctests to look for


@pytest.fixture
def strict():
    """No implicit promotion: what the port itself does must not depend on it."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def arrays():
    """Parameters or gradients of two leaves, seeded."""

    def make(seed, dtype="float32", shape=(8, 5)):
        rng = np.random.Generator(np.random.Philox(seed))
        draw = {"w": rng.standard_normal(shape), "b": rng.standard_normal(3)}
        return {name: jax.numpy.asarray(a, dtype) for name, a in draw.items()}

    return make


@pytest.fixture
def python():
    """Run code in a process of its own, with JAX on the CPU as so many devices; its output."""

    def run(code, devices=1, flags=""):
        flags = f"--xla_force_host_platform_device_count={devices} {flags}"
        environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def assert_same():
    """Two trees have the same structure, dtypes and bits, but for the bits of a NaN (L-010)."""

    def same(tree, due):
        assert jax.tree.structure(tree) == jax.tree.structure(due)
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(due), strict=True
        ):
            a, b = np.atleast_1d(a), np.atleast_1d(b)
            assert (a.shape, a.dtype) == (b.shape, b.dtype), jax.tree_util.keystr(path)
            np.testing.assert_array_equal(_bits(a), _bits(b), jax.tree_util.keystr(path))

    return same


def _bits(array):
    reals = array.view(array.real.dtype) if np.iscomplexobj(array) else array
    if reals.dtype.kind in "iub":
        return reals
    patterns = reals.view(f"u{reals.dtype.itemsize}")
    return np.where(np.isnan(reals), patterns.dtype.type(2**16 - 1), patterns)
