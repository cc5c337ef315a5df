"""Kernels of MLX for a GPU, of which there is none here, compiled by g++ and run on the CPU.

What MLX generates for Metal is written out by ``mx.export_function``. For CUDA it generates nothing
where it was not built for CUDA, so that is put together here.
"""

import ctypes
import re
import shutil
import subprocess
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core", reason="needs the extra 'mlx'")

from lion_ports.mlx import gpu, gpu_small  # noqa: E402
from lion_ports.mlx.state import from_numpy, to_numpy  # noqa: E402

SHIM = Path(__file__).parents[1] / "mlx" / "shim.h"
CPUINFO = Path("/proc/cpuinfo")
LANGUAGES = ["metal", "cuda"]
CONTRACTING = ("-O3", "-mfma", "-ffp-contract=fast")
_MARGIN = np.full(1024, 0x7E, np.uint8)  # past the end of each array: read, large numbers

needs_gpp = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
needs_metal = pytest.mark.skipif(not mx.metal.is_available(), reason="needs a Metal GPU")
needs_fma = pytest.mark.skipif(
    not (CPUINFO.exists() and " fma " in CPUINFO.read_text()),
    reason="needs a CPU with a fused multiply-add",
)


def in_turn(values, first=0, every=1):
    """Each value with each language; by default some with one of them, for each is compiled."""
    return [
        pytest.param(
            value,
            language,
            id="-".join(map(str, (*value, language))),
            marks=[pytest.mark.slow] if (i // every + j + first) % 2 or i % every else [],
        )
        for i, value in enumerate(values)
        for j, language in enumerate(LANGUAGES)
    ]


_written = gpu.written


def on_the_cpu(monkeypatch, folder, language, **options):
    """Let kernels be written in a language, and run here; the sources of those that are called."""
    sources = []
    monkeypatch.setattr(gpu, "language", lambda: language)
    monkeypatch.setattr(gpu, "written", partial(Kernel, folder, sources, **options))
    for module in (gpu, gpu_small):
        monkeypatch.setattr(module, "kernel", module.kernel.__wrapped__)
    return sources


class Kernel:
    """What :func:`lion_ports.mlx.gpu.written` makes, but runs on the CPU.

    Args:
        folder: where it is compiled.
        sources: where its source is put in when it is called.
        written: the arguments of that function.
        flags: for g++.
        edit: what makes another source of that of the kernel.
        runs: whether it is run; else it makes zeros.
    """

    def __init__(
        self, folder, sources, *written, flags=("-ffp-contract=off",), edit=None, runs=True
    ):
        self.folder, self.sources, self.written = folder, sources, written
        self.flags, self.edit, self.runs = flags, edit, runs
        self.language, _, self.names, *_ = written

    def __call__(self, *, inputs, **how):
        generated = metal_source if self.language == "metal" else cuda_source
        source, function = generated(self.folder, self.written, inputs, how)
        source = self.edit(source) if self.edit else source
        self.sources.append(source)
        zeros = list(map(mx.zeros, how["output_shapes"], how["output_dtypes"]))
        if not self.runs:
            return zeros
        program = self._program(source, function, len(inputs) + len(zeros))
        run = _compiled(program, self.flags, self.folder)
        given = [_with_margin(to_numpy(a)) for a in inputs]
        x = self.names.index("x")
        shape = np.array([inputs[x].size] + [0] * 9, np.int32)
        given.insert(x + 1, _with_margin(shape))
        made = [_with_margin(to_numpy(a)) for a in zeros]
        pointers = [a.ctypes.data for _, a in (*given, *made)]
        # Metal starts the threads of the grid and no more, CUDA whole blocks of them.
        whole = how["threadgroup"][0] if self.language == "cuda" else 1
        threads = -(-how["grid"][0] // whole) * whole
        assert run((ctypes.c_void_p * len(pointers))(*pointers), ctypes.c_uint(threads)), (
            "some lanes speak to others that do not"
        )
        for like, array in made:
            assert (array[like.nbytes :] == _MARGIN).all(), "written past the end"
        return [from_numpy(_without_margin(*a)) for a in made]

    def _program(self, source, function, arrays):
        arguments = ", ".join(f"Argument{{a[{k}]}}" for k in range(arrays + 1))
        place = "blockIdx.x = i / blockDim.x, threadIdx.x = i % blockDim.x;"
        if self.language == "metal":
            arguments, place = f"{arguments}, uint3{{i, 0, 0}}", ""
        return f"""
#include "{SHIM}"
{source}
extern "C" bool run(void** a, unsigned threads) {{
  return run_threads(threads, [&](unsigned i) {{
    {place}
    {function}({arguments});
  }});
}}"""


def metal_source(folder, written, inputs, how):
    """What MLX generates for Metal, and the function in it."""
    kernel = _written(*written)
    path = folder / "kernel.mlxfn"
    mx.export_function(str(path), lambda *a: kernel(inputs=list(a), **how), *inputs)
    exported = path.read_bytes()
    start = exported.index(gpu.HEADER["metal"].encode())
    end = exported.index(b'template [[host_name("', start)
    source = exported[start : exported.index(b";", end) + 1].decode()
    return source, re.search(r"decltype\((.+?)\)", source)[1]


_CUDA_TYPES = {"float32": "float", "bfloat16": "__nv_bfloat16", "float16": "__half", "bool": "bool"}


def cuda_type(dtype):
    name = str(dtype).removeprefix("mlx.core.")
    return _CUDA_TYPES.get(name, f"{name}_t")


def cuda_source(folder, written, inputs, how):
    """What MLX generates for CUDA but for its own headers, and the function in it."""
    language, function, names, outputs, body, *header = written
    parameters = []
    for name, a in zip(names, inputs, strict=True):
        parameters.append(f"const {cuda_type(a.dtype)}* {name}")
        if f"{name}_shape" in body:
            parameters.append(f"const __grid_constant__ Shape {name}_shape")
    for name, dtype in zip(outputs, how["output_dtypes"], strict=True):
        parameters.append(f"{cuda_type(dtype)}* {name}")
    types = "".join(
        f"  using {name} [[maybe_unused]] = {cuda_type(dtype)};\n"
        for name, dtype in how["template"]
    )
    source = f"""{gpu.HEADER[language]}{"".join(header)}
__global__ void {function}({", ".join(parameters)}) {{
{types}{gpu.INDEX[language]}{body}
}}"""
    return source, function


def without_zero(source):
    """The products as they would be written without the zero."""
    bare = source.replace(" ^ zero", "")
    assert bare != source
    return bare.replace("unsigned zero)", "unsigned)")


def ptx(source, folder):
    """What nvcc makes of a source for CUDA, every warning an error."""
    (folder / "lion.cu").write_text(f"""
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cstdint>
struct Shape {{
  int data[10];
  __host__ __device__ int operator[](int i) const {{ return data[i]; }}
}};
{source}""")
    command = ["nvcc", "-std=c++17", "-arch=sm_80", "-Werror", "all-warnings", "-ptx"]
    done = subprocess.run(
        [*command, folder / "lion.cu", "-o", folder / "lion.ptx"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return (folder / "lion.ptx").read_text()


def assert_no_pointer_is_made(source):
    """In Metal a pointer is of an address space, so there are none but the arguments."""
    body = source[source.index("[[thread_position_in_grid]]) {") :]
    assert "*" not in body.replace(" * ", "")
    assert "&" not in re.sub(r"&&| & ", "", body)


@cache
def _compiled(program, flags, folder):
    count = len(list(folder.glob("*.cpp")))  # a library of the same name would not be loaded again
    code, library = folder / f"kernel{count}.cpp", folder / f"kernel{count}.so"
    code.write_text(program)
    command = ["g++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-attributes"]
    done = subprocess.run(
        [*command, *flags, "-fPIC", "-shared", code, "-o", library], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run = ctypes.CDLL(str(library)).run
    run.restype = ctypes.c_bool
    return run


def _with_margin(array):
    """An array, and its bytes with others behind them."""
    own = np.frombuffer(array.tobytes(), np.uint8)
    return array, np.concatenate([own, _MARGIN])


def _without_margin(like, array):
    return np.frombuffer(array.tobytes()[: like.nbytes], like.dtype).reshape(like.shape)
