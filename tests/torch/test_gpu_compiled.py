"""The kernel for GPUs, compiled for some that are not here: what is in the machine code.

The launches are those of ``lion_updates_``, up to the point where a driver would be asked.
"""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from lion_ports.config import Rule, Scalars

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
triton = pytest.importorskip("triton", reason="needs triton, which is not installed")

from triton.backends.compiler import GPUTarget  # noqa: E402

from lion_ports.torch import gpu, gpu_kernel  # noqa: E402
from lion_ports.torch.jobs import Update  # noqa: E402

NVIDIA = [GPUTarget("cuda", architecture, 32) for architecture in (80, 90, 100)]
AMD = [GPUTarget("hip", architecture, 64) for architecture in ("gfx90a", "gfx942")]
BF16, F16, F32, F64 = torch.bfloat16, torch.float16, torch.float32, torch.float64
# Of parameters, gradients and momenta.
MIXTURES = [(BF16,) * 3, (F16,) * 3, (F32,) * 3, (F64,) * 3, (BF16, BF16, F32), (F32, F32, BF16)]
SCALARS = Scalars(lr=1e-4, b1=0.9, b2=0.99, wd=0.1)
TOOLS = Path(triton.__file__).with_name("backends") / "nvidia" / "bin"

targets = pytest.mark.parametrize("target", NVIDIA + AMD, ids=lambda t: f"{t.backend}-{t.arch}")
mixtures = pytest.mark.parametrize(
    "dtypes", MIXTURES, ids=lambda ds: "-".join(str(d).removeprefix("torch.") for d in ds)
)


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


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """A function that gives the programs that an update launches; ``broken`` are their faults."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel, programs = gpu_kernel.lion_kernel, []

    def compile(target, dtypes, rule=Rule(), scalars=SCALARS, **broken):  # noqa: B008
        class Launcher:
            def __getitem__(self, grid):
                def launch(*args, **options):
                    program = kernel.run(*args, grid=grid, warmup=True, **{**options, **broken})
                    programs.append(program)

                return launch

        monkeypatch.setattr(triton.runtime.driver, "_active", Absent(target))
        monkeypatch.setattr(gpu_kernel, "lion_kernel", Launcher())
        programs.clear()
        sizes = (5, 10_000, 0)
        gpu.lion_updates_(
            [Update(*(torch.zeros(n, dtype=d) for d in dtypes)) for n in sizes], scalars, rule
        )
        return list(programs)

    yield compile
    kernel.device_caches.clear()  # later tests compile anew


def listing(program):
    return program.asm["ptx" if "ptx" in program.asm else "amdgcn"]


def tool(name, program, folder):
    """What a program of NVIDIA's says of the machine code."""
    (folder / "program.cubin").write_bytes(program.asm["cubin"])
    option = {"nvdisasm": "-c", "cuobjdump": "-res-usage"}[name]
    command = (TOOLS / name, option, folder / "program.cubin")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


WIDE = {
    "load": r"\bld\.global\.(?:v4\.b32|v2\.b64)|\b(?:buffer|global)_load_dwordx4",
    "store": r"\bst\.global\.(?:v4\.b32|v2\.b64)|\b(?:buffer|global)_store_dwordx4",
}


def wide_bytes(program, what):
    """How much one program moves by instructions that move 16 bytes a lane."""
    metadata = program.metadata
    lanes = metadata.num_warps * metadata.target.warp_size
    return 16 * lanes * len(re.findall(WIDE[what], listing(program)))


def moves_wide(program, loaded, stored):
    """Whether a whole block of these dtypes is moved, by such instructions alone."""
    expected = [sum(dtype.itemsize for dtype in moved) * gpu._BLOCK for moved in (loaded, stored)]
    return [wide_bytes(program, what) for what in WIDE] == expected


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


@targets
@mixtures
def test_program(compiled, target, dtypes, tmp_path):
    (program,) = compiled(target, dtypes)
    x, _, m = dtypes
    assert moves_wide(program, dtypes, (x, m))
    assert fused(program) == inexact(program) == []
    assert spilt(program, tmp_path) == 0


@targets
def test_rules(compiled, target, tmp_path):
    rule = Rule("clip", steepness=2.0, cautious_decay=True)
    (program,) = compiled(target, (BF16,) * 3, rule)
    assert moves_wide(program, (BF16,) * 3, (BF16,) * 2)
    assert fused(program) == inexact(program) == []
    assert spilt(program, tmp_path) == 0


@targets
def test_cautious(compiled, target, tmp_path):
    """One program counts; another divides by that, with instructions of the compiler's own."""
    count, update = compiled(target, (BF16,) * 3, Rule(cautious=True))
    assert fused(count) == []
    assert moves_wide(count, (BF16,) * 2, ())
    assert moves_wide(update, (BF16,) * 3, (BF16,) * 2)
    divides = r"\bdiv\.rn\.f32|\bv_div_fixup_f32"  # as IEEE 754 has it
    assert re.search(divides, listing(update))
    for program in (count, update):
        assert not re.search(
            r"llvm\.fma|fmuladd|\b(?:fast|contract|afn|arcp)\b", program.asm["llir"]
        )
        assert inexact(program) == []
        assert spilt(program, tmp_path) == 0


def instructions(program, folder):
    """The names of the instructions in a program of NVIDIA's."""
    line = r"^\s+(?:/\*\w+\*/\s+)?(?:@!?\w+\s+)?([A-Z][A-Z0-9]+[\w.]*)"
    return re.findall(line, tool("nvdisasm", program, folder), re.MULTILINE)


@pytest.mark.parametrize("target", NVIDIA, ids=lambda t: f"sm_{t.arch}")
def test_machine_code_of_nvidia(compiled, target, tmp_path):
    """What ptxas, which could fuse by itself, makes of the program."""
    count = Counter(instructions(*compiled(target, (F32,) * 3), tmp_path))
    assert 16 * 128 * count["LDG.E.128"] == 12 * gpu._BLOCK
    assert 16 * 128 * count["STG.E.128"] == 8 * gpu._BLOCK
    assert count["FMUL"] > 0
    assert not {"FFMA", "FFMA2", "LDL", "STL"} & {name.split(".")[0] for name in count}


@pytest.mark.parametrize("target", [NVIDIA[1], AMD[1]], ids=["sm_90", "gfx942"])
def test_other_numbers_compile_nothing(compiled, target):
    """Zero, one and multiples of 16 would be special cases, had Triton seen integers."""
    numbers = ({}, {"lr": 0.0}, {"lr": 1.0}, {"wd": 0.0}, {"wd": 16.0}, {"lr": 1, "wd": 0})
    scalars = [SCALARS._replace(**some) for some in numbers]
    programs = [compiled(target, (F32,) * 3, scalars=some) for some in scalars]
    assert all(program == programs[0] for program in programs)


@pytest.mark.parametrize("target", [NVIDIA[1], AMD[1]], ids=["sm_90", "gfx942"])
def test_the_checks_find(compiled, target, tmp_path):
    """Fusion, a block too small for 16 bytes a lane, and too few registers."""
    assert fused(*compiled(target, (F32,) * 3, enable_fp_fusion=True))
    small = compiled(target, (BF16,) * 3, BLOCK=512)
    assert not moves_wide(*small, (BF16,) * 3, (BF16,) * 2)
    few = {"maxnreg": 24} if target.backend == "cuda" else {"waves_per_eu": 4, "BLOCK": 8192}
    assert spilt(*compiled(target, (F64,) * 3, **few), tmp_path) > 0


def test_the_check_of_machine_code_finds(compiled, tmp_path):
    (program,) = compiled(NVIDIA[1], (F32,) * 3, enable_fp_fusion=True)
    assert "FFMA" in instructions(program, tmp_path)
