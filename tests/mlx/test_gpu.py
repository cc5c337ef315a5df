"""The kernel for a GPU, of which there is none here.

What MLX generates for it is compiled by g++, with a little of Metal and CUDA in C++ (shim.h), and
run on the CPU against the reference. That for CUDA is compiled by nvcc as well, and its PTX looked
at. On a Mac the kernel is run.
"""

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest
from mlx_kernels import (
    CONTRACTING,
    LANGUAGES,
    assert_no_pointer_is_made,
    in_turn,
    needs_fma,
    needs_gpp,
    needs_metal,
    needs_nvcc,
    on_the_cpu,
    ptx,
    without_zero,
)

from lion_ports import reference
from lion_ports.config import LION, Scalars
from lion_ports.conformance.bits import same
from lion_ports.mlx import gpu, lion_update
from lion_ports.mlx.scalars import rounded
from lion_ports.mlx.state import from_numpy, to_numpy

MIXTURES = [  # parameter, gradient, momentum
    ("float32", "float32", "float32"),
    ("bfloat16", "bfloat16", "bfloat16"),
    ("float16", "float16", "float16"),
    ("bfloat16", "float32", "float32"),
    ("float32", "float16", "bfloat16"),
]
SCALARS = {
    "plain": Scalars(1e-2, 0.9, 0.99, 0.0),
    "decay": Scalars(1e-2, 0.95, 0.98, 0.1),
    "independent": Scalars(1e-2, 0.9, 0.99, 1e-3, 0.02),
}
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 6e4, 1e-30]


def arrays(dtypes, size):
    """Parameter, gradient and momentum; the longer ones with every pair of special values."""
    rng = np.random.default_rng(size)
    made = [rng.standard_normal(size).astype(np.float32) for _ in range(3)]
    for a, values in zip(made, np.meshgrid(SPECIAL, SPECIAL, SPECIAL), strict=True):
        if size > values.size:
            a[: values.size] = values.ravel()
    with np.errstate(over="ignore", under="ignore"):
        return [
            a.astype(ml_dtypes.bfloat16 if d == "bfloat16" else d)
            for a, d in zip(made, dtypes, strict=True)
        ]


def differences(update, dtypes, size, scalars):
    """In how many elements an update is not that of the reference."""
    x, g, m = arrays(dtypes, size)
    found = [to_numpy(a) for a in update(*map(from_numpy, (x, g, m)), scalars)]
    expected = reference.lion_update(x, g, m, scalars)
    return sum(int((~same(a, b)).sum()) for a, b in zip(found, expected, strict=True))


def move(x, g, m, scalars):
    return gpu.move(x, g, m, rounded(scalars, mx.float32))


@needs_gpp
@pytest.mark.parametrize(("dtypes", "language"), in_turn(MIXTURES))
def test_the_source_is_bitwise_the_reference_on_a_cpu(dtypes, language, tmp_path, monkeypatch):
    on_the_cpu(monkeypatch, tmp_path, language)
    for scalars in SCALARS.values():
        assert differences(move, dtypes, 1021, scalars) == 0


@needs_gpp
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("sizes", [(1, 7), (8, 257)], ids=str)
def test_small_parameters_and_tails(sizes, language, tmp_path, monkeypatch):
    on_the_cpu(monkeypatch, tmp_path, language)
    for size in sizes:
        assert differences(move, ("bfloat16",) * 3, size, SCALARS["decay"]) == 0


@needs_gpp
@needs_fma
@pytest.mark.parametrize("edit", [None, without_zero], ids=["zero", "none"])
def test_a_compiler_that_contracts_finds_nothing_to_contract(edit, tmp_path, monkeypatch):
    on_the_cpu(monkeypatch, tmp_path, "metal", flags=CONTRACTING, edit=edit)
    contracted = differences(move, ("float32",) * 3, 20_000, SCALARS["decay"])
    assert (contracted > 0) == (edit is not None)


@pytest.mark.parametrize("size", [(), 1, 7, 8, 300])
def test_metal_finds_its_inputs_in_the_address_space_it_is_told(size, tmp_path, monkeypatch):
    sources = on_the_cpu(monkeypatch, tmp_path, "metal", runs=False)
    move(*[mx.zeros(size, mx.float16)] * 3, SCALARS["plain"])
    space = "device" if size in (8, 300) else "constant"
    for name in "xgm":
        assert f"const {space} float16_t* {name} " in sources[0]
    assert "const device float* scalars " in sources[0]
    assert_no_pointer_is_made(sources[0])


@needs_nvcc
@pytest.mark.parametrize("dtypes", MIXTURES, ids="-".join)
def test_nvcc_fuses_no_product_and_sum(dtypes, tmp_path, monkeypatch):
    sources = on_the_cpu(monkeypatch, tmp_path, "cuda", runs=False)
    move(*(mx.zeros(300, getattr(mx, d)) for d in dtypes), SCALARS["decay"])
    assert "fma" not in ptx(sources[0], tmp_path)


@needs_nvcc
def test_nvcc_would_fuse_them_without_the_zero(tmp_path, monkeypatch):
    sources = on_the_cpu(monkeypatch, tmp_path, "cuda", runs=False, edit=without_zero)
    move(*[mx.zeros(300)] * 3, SCALARS["decay"])
    assert "fma" in ptx(sources[0], tmp_path)


def test_the_choice(monkeypatch):
    x = mx.zeros(8)
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    monkeypatch.setattr(gpu, "USED", False)
    assert not gpu.takes(LION, x, x, x)
    monkeypatch.setattr(gpu, "USED", True)
    assert gpu.takes(LION, x, x, x.astype(mx.bfloat16))
    assert not gpu.takes(LION, x, x, x.astype(mx.int32))
    assert not gpu.takes(LION._replace(cautious=True), x, x, x)
    assert not gpu.takes(LION._replace(cautious_decay=True), x, x, x)
    assert not gpu.takes(LION._replace(nonlinearity="tanh"), x, x, x)
    assert not gpu.takes(LION, x[:0], x, x)
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.cpu))
    assert not gpu.takes(LION, x, x, x)


def test_an_update_goes_by_the_kernel_that_takes_it(monkeypatch):
    monkeypatch.setattr(gpu, "takes", lambda rule, x, g, m: True)
    monkeypatch.setattr(gpu, "move", lambda x, g, m, scalars: (x + scalars.lr, m + g))
    x, g, m = mx.array(1.0), mx.array(2.0), mx.array(3.0)
    assert [a.item() for a in lion_update(x, g, m, Scalars(0.5, 0.9, 0.99, 0.1))] == [1.5, 5.0]


@needs_metal
@pytest.mark.parametrize("used", [False, True], ids=["operations", "kernel"])
@pytest.mark.parametrize("dtypes", MIXTURES, ids="-".join)
def test_on_metal(dtypes, used, monkeypatch):
    monkeypatch.setattr(gpu, "USED", used)
    mx.set_default_device(mx.gpu)
    for size in (1, 7, 1021):
        for scalars in SCALARS.values():
            assert differences(lion_update, dtypes, size, scalars) == 0
