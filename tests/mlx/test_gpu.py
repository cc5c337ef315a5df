"""The kernel for a GPU, of which there is none here.

What MLX generates for Metal is written out, compiled by g++ with a little of Metal's language in
C++ (shim.h) and run on the CPU against the reference. That for CUDA is compiled by nvcc, and its
PTX looked at. On a Mac the kernel is run.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from lion_ports import reference
from lion_ports.config import LION, Scalars
from lion_ports.conformance.bits import same
from lion_ports.mlx import gpu, lion_update
from lion_ports.mlx.scalars import rounded
from lion_ports.mlx.state import from_numpy, to_numpy

SHIM = Path(__file__).with_name("shim.h")
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

needs_gpp = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
needs_metal = pytest.mark.skipif(not mx.metal.is_available(), reason="needs a Metal GPU")


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


def metal_source(dtypes, size, folder):
    """What MLX generates, with the name of its function."""
    xgm = [mx.zeros(size, getattr(mx, d)) for d in dtypes]
    packed = rounded(SCALARS["plain"], mx.float32).packed

    def call(x, g, m, scalars):
        return gpu.call(gpu.kernel("metal"), x, g, m, scalars)

    mx.export_function(str(folder / "kernel.mlxfn"), call, *xgm, packed)
    written = (folder / "kernel.mlxfn").read_bytes()
    start = written.index(gpu.METAL.encode())
    name = b'template [[host_name("'
    end = written.index(name, start)
    source = written[start : written.index(b";", end) + 1].decode()
    return source, source[source.index(name.decode()) + len(name) :].partition('"')[0]


def built(dtypes, size, folder, *flags, source=None):
    """The kernel as a function of pointers and the number of threads."""
    generated, name = metal_source(dtypes, size, folder)
    x, g, m = (f"{d}_t" if d != "float32" else "float" for d in dtypes)
    code = f"""
#include "{SHIM}"
{source(generated) if source else generated}
extern "C" void run({x}* x, int* shape, {g}* g, {m}* m, float* scalars, {x}* new_x, {m}* new_m,
                    unsigned threads) {{
  for (unsigned i = 0; i < threads; ++i)
    {name}<{x}, {m}>(x, shape, g, m, scalars, new_x, new_m, uint3{{i, 0, 0}});
}}"""
    (folder / "kernel.cpp").write_text(code)
    library = folder / f"kernel{len(list(folder.glob('*.so')))}.so"  # one name is loaded once
    command = ["g++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-attributes"]
    subprocess.run(
        [*command, *flags, "-fPIC", "-shared", folder / "kernel.cpp", "-o", library],
        check=True,
        capture_output=True,
    )
    return ctypes.CDLL(str(library)).run


def run(function, x, g, m, scalars):
    """The new parameter and momentum, by a whole number of threadgroups."""
    size = ctypes.c_int(x.size)
    packed = to_numpy(rounded(scalars, mx.float32).packed)
    new_x, new_m = np.zeros_like(x), np.zeros_like(m)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (x, g, m, packed, new_x, new_m)]
    threads = -(-x.size // 256) * 256
    function(pointers[0], ctypes.byref(size), *pointers[1:], ctypes.c_uint(threads))
    return new_x, new_m


def differences(found, x, g, m, scalars):
    expected = reference.lion_update(x, g, m, scalars)
    return sum(int((~same(a, b)).sum()) for a, b in zip(found, expected, strict=True))


@needs_gpp
@pytest.mark.parametrize("dtypes", MIXTURES, ids="-".join)
def test_the_metal_source_is_bitwise_the_reference_on_a_cpu(dtypes, tmp_path):
    function = built(dtypes, 1021, tmp_path, "-ffp-contract=off")
    for scalars in SCALARS.values():
        x, g, m = arrays(dtypes, 1021)
        assert differences(run(function, x, g, m, scalars), x, g, m, scalars) == 0


@needs_gpp
@pytest.mark.parametrize("size", [1, 7, 8, 257])
def test_small_parameters_and_tails(size, tmp_path):
    function = built(("bfloat16",) * 3, size, tmp_path)
    x, g, m = arrays(("bfloat16",) * 3, size)
    scalars = SCALARS["decay"]
    assert differences(run(function, x, g, m, scalars), x, g, m, scalars) == 0


def without_zero(source):
    """The products as they would be written without the zero."""
    bare = source.replace(" ^ zero", "")
    assert bare != source
    return bare.replace("unsigned zero)", "unsigned)")


@pytest.fixture
def has_fma():
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if " fma " not in flags:
        pytest.skip("needs a CPU with a fused multiply-add")


@needs_gpp
def test_a_compiler_that_contracts_finds_nothing_to_contract(has_fma, tmp_path):
    dtypes, contracting = ("float32",) * 3, ("-O3", "-mfma", "-ffp-contract=fast")
    x, g, m = arrays(dtypes, 20_000)
    scalars = SCALARS["decay"]
    function = built(dtypes, x.size, tmp_path, *contracting)
    assert differences(run(function, x, g, m, scalars), x, g, m, scalars) == 0
    function = built(dtypes, x.size, tmp_path, *contracting, source=without_zero)
    assert differences(run(function, x, g, m, scalars), x, g, m, scalars) > 0


@pytest.mark.parametrize("size", [(), 1, 7, 8, 300])
def test_metal_finds_its_inputs_in_the_address_space_it_is_told(size, tmp_path):
    source, _ = metal_source(("float16",) * 3, size, tmp_path)
    space = "device" if size in (8, 300) else "constant"
    for name in "xgm":
        assert f"const {space} float16_t* {name} " in source
    assert "const device float* scalars " in source
    # No pointer of one address space is made of another: there is none but the arguments.
    assert "*" not in source[source.index("[[thread_position_in_grid]]) {") :].replace("a * b", "")


CUDA_TYPES = {"float32": "float", "bfloat16": "__nv_bfloat16", "float16": "__half"}


def cuda_source(dtypes):
    """What MLX generates for CUDA, which it does where it was built for CUDA alone."""
    x, g, m = (CUDA_TYPES[d] for d in dtypes)
    return f"""
#include <cuda_bf16.h>
#include <cuda_fp16.h>
struct Shape {{
  int data[8];
  __host__ __device__ int operator[](int i) const {{ return data[i]; }}
}};
{gpu.CUDA}
__global__ void lion(const {x}* x, const __grid_constant__ Shape x_shape, const {g}* g,
                     const {m}* m, const float* scalars, {x}* new_x, {m}* new_m) {{
  using TX = {x};
  using TM = {m};
  {gpu.INDEX["cuda"]}{gpu.BODY}
}}"""


def ptx(source, folder):
    (folder / "lion.cu").write_text(source)
    command = ["nvcc", "-std=c++17", "-arch=sm_80", "-Werror", "all-warnings", "-ptx"]
    done = subprocess.run(
        [*command, folder / "lion.cu", "-o", folder / "lion.ptx"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return (folder / "lion.ptx").read_text()


@needs_nvcc
@pytest.mark.parametrize("dtypes", MIXTURES, ids="-".join)
def test_nvcc_fuses_no_product_and_sum(dtypes, tmp_path):
    assert "fma" not in ptx(cuda_source(dtypes), tmp_path)


@needs_nvcc
def test_nvcc_would_fuse_them_without_the_zero(tmp_path):
    assert "fma" in ptx(without_zero(cuda_source(MIXTURES[0])), tmp_path)


def test_the_choice(monkeypatch):
    x = mx.zeros(8)
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    monkeypatch.setattr(gpu, "USED", False)
    assert not gpu.takes(x, x, x, LION)
    monkeypatch.setattr(gpu, "USED", True)
    assert gpu.takes(x, x, x.astype(mx.bfloat16), LION)
    assert not gpu.takes(x, x, x.astype(mx.int32), LION)
    assert not gpu.takes(x, x, x, LION._replace(cautious=True))
    assert not gpu.takes(x, x, x, LION._replace(cautious_decay=True))
    assert not gpu.takes(x, x, x, LION._replace(nonlinearity="tanh"))
    assert not gpu.takes(x[:0], x, x, LION)
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.cpu))
    assert not gpu.takes(x, x, x, LION)


def test_an_update_goes_by_the_kernel_that_takes_it(monkeypatch):
    monkeypatch.setattr(gpu, "takes", lambda x, g, m, rule: True)
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
            x, g, m = arrays(dtypes, size)
            found = lion_update(*map(from_numpy, (x, g, m)), scalars)
            assert differences(map(to_numpy, found), x, g, m, scalars) == 0
