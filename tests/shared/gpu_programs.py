"""Kernels of Triton compiled for GPUs that are not here, and what is in their machine code."""

import re
import subprocess
from pathlib import Path

import pytest
from usual import usually

triton = pytest.importorskip("triton", reason="needs triton, which is not installed")

from triton.backends.compiler import GPUTarget  # noqa: E402

NVIDIA = [GPUTarget("cuda", architecture, 32) for architecture in (80, 90, 100)]
AMD = [GPUTarget("hip", architecture, 64) for architecture in ("gfx90a", "gfx942")]
TOOLS = Path(triton.__file__).with_name("backends") / "nvidia" / "bin"

ONE_OF_EACH = [NVIDIA[1], AMD[1]]  # which are compiled for by default


def name(target):
    return f"{target.backend}-{target.arch}"


one_of_each = pytest.mark.parametrize("target", ONE_OF_EACH, ids=["sm_90", "gfx942"])
targets = pytest.mark.parametrize("target", usually(ONE_OF_EACH, NVIDIA + AMD), ids=name)
nvidia = pytest.mark.parametrize("target", usually(ONE_OF_EACH[:1], NVIDIA), ids=name)


def of_mixtures(mixtures, usual=3):
    """Every mixture of dtypes on every target; by default the first ones on two in turn."""
    runs = [
        pytest.param(
            target,
            dtypes,
            id=f"{'-'.join(map(str, dtypes))}-{name(target)}".replace("torch.", ""),
            marks=[] if i < usual and target == ONE_OF_EACH[i % 2] else [pytest.mark.slow],
        )
        for i, dtypes in enumerate(mixtures)
        for target in NVIDIA + AMD
    ]
    return pytest.mark.parametrize(("target", "dtypes"), runs)


class Absent:
    """The driver of a GPU that is not there: it knows what to compile for."""

    def __init__(self, target):
        self.target = target

    def get_current_device(self):
        return self.target

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        return self.target


def programs(monkeypatch, module, kernel, target, update, **broken):
    """The programs that ``update()`` would launch of a kernel; ``broken`` are their faults."""
    compiled, found = getattr(module, kernel), []

    class Launcher:
        def __getitem__(self, grid):
            def launch(*args, **options):
                found.append(compiled.run(*args, grid=grid, warmup=True, **{**options, **broken}))

            return launch

    with monkeypatch.context() as patched:
        patched.setattr(triton.runtime.driver, "_active", Absent(target))
        patched.setattr(module, kernel, Launcher())
        update()
    return found


def listing(program):
    return program.asm["ptx" if "ptx" in program.asm else "amdgcn"]


def tool(name, program, folder):
    """What a program of NVIDIA's says of the machine code."""
    (folder / "program.cubin").write_bytes(program.asm["cubin"])
    option = {"nvdisasm": "-c", "cuobjdump": "-res-usage"}[name]
    command = (TOOLS / name, option, folder / "program.cubin")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# What moves so many bytes a lane. One number of 64 bits, as in a table, is no vector.
MOVES = {
    ("load", 16): r"\bld\.global\.(?:v4\.b32|v2\.b64)|\b(?:buffer|global)_load_dwordx4",
    ("load", 8): r"\bld\.global\.v2\.b32|\b(?:buffer|global)_load_dwordx2",
    ("store", 16): r"\bst\.global\.(?:v4\.b32|v2\.b64)|\b(?:buffer|global)_store_dwordx4",
    ("store", 8): r"\bst\.global\.v2\.b32|\b(?:buffer|global)_store_dwordx2",
}


def moved(program, what, width):
    """How much one program loads or stores by instructions that move ``width`` bytes a lane."""
    metadata = program.metadata
    lanes = metadata.num_warps * metadata.target.warp_size
    return width * lanes * len(re.findall(MOVES[what, width], listing(program)))


def fused(program):
    """Instructions that multiply and add with one rounding.

    AMD multiplies and adds float16 with such instructions, too: then -0 is added, or 1 the factor,
    which rounds nothing.
    """
    nvidia = r"\b(?:fma|mad)\.\S*f(?:16|32|64)\S*\s.*"
    amd = r"\bv_(?:pk_)?(?:fma|fmac|mad|mac)\w*_f(?:16|32|64)\b.*"
    found = re.findall(f"{nvidia}|{amd}", listing(program))
    return [line for line in found if not re.search(r", (?:-?1\.0, \S+|neg\(0\)) op_sel", line)]


def spilt(program, folder):
    """Bytes of memory, beside that of the tensors, that the threads of a program need."""
    if "cubin" in program.asm:
        counts = re.findall(r"\b(?:STACK|LOCAL):(\d+)", tool("cuobjdump", program, folder))
    else:
        counts = re.findall(
            r"\.(?:vgpr_spill_count|private_segment_fixed_size):\s+(\d+)", listing(program)
        )
    assert len(counts) == 2
    return sum(map(int, counts))


def inexact(program):
    """What does not round to nearest even, or flushes subnormal numbers (L-007, L-012)."""
    code = listing(program)
    if "ptx" in program.asm:
        flushing = re.findall(r"\S+\.(?:ftz|approx|full)\S*", code)
        conversions = re.findall(r"\bcvt\S*\.(?:bf16|f16|f32)(?:x2)?\.f(?:32|64)\b", code)
        return flushing + [c for c in conversions if not c.startswith("cvt.rn.")]
    modes = re.findall(r"\.amdhsa_float_(round|denorm)_mode_\w+ (\d)", code)
    assert len(modes) == 4
    return [mode for mode in modes if mode != ("round", "0") and mode != ("denorm", "3")]


def instructions(program, folder):
    """The names of the instructions in a program of NVIDIA's."""
    line = r"^\s+(?:/\*\w+\*/\s+)?(?:@!?\w+\s+)?([A-Z][A-Z0-9]+[\w.]*)"
    return re.findall(line, tool("nvdisasm", program, folder), re.MULTILINE)
