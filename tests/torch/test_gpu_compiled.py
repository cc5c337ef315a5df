"""The kernel for GPUs, compiled for some that are not here: what is in the machine code.

The launches are those of ``lion_updates_``, up to the point where a driver would be asked.
"""

import re
from collections import Counter

import pytest

from lion_ports.config import Rule, Scalars

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("triton", reason="needs triton, which is not installed")

from gpu_programs import (  # noqa: E402
    NVIDIA,
    fused,
    inexact,
    instructions,
    listing,
    moved,
    nvidia,
    of_mixtures,
    one_of_each,
    programs,
    spilt,
    targets,
)

from lion_ports.torch import gpu, gpu_kernel  # noqa: E402
from lion_ports.torch.jobs import Update  # noqa: E402

BF16, F16, F32, F64 = torch.bfloat16, torch.float16, torch.float32, torch.float64
# Of parameters, gradients and momenta.
MIXTURES = [(BF16,) * 3, (F16,) * 3, (F32,) * 3, (F64,) * 3, (BF16, BF16, F32), (F32, F32, BF16)]
SCALARS = Scalars(lr=1e-4, b1=0.9, b2=0.99, wd=0.1)


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """A function that gives the programs that an update launches."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def compile(target, dtypes, rule=Rule(), scalars=SCALARS, **broken):  # noqa: B008
        updates = [Update(*(torch.zeros(n, dtype=d) for d in dtypes)) for n in (5, 10_000, 0)]

        def update():
            gpu.lion_updates_(updates, scalars, rule)

        return programs(monkeypatch, gpu_kernel, "lion_kernel", target, update, **broken)

    yield compile
    gpu_kernel.lion_kernel.device_caches.clear()  # later tests compile anew


def moves_wide(program, loaded, stored):
    """Whether a whole block of these dtypes is moved, by such instructions alone."""
    expected = [sum(dtype.itemsize for dtype in dtypes) * gpu.BLOCK for dtypes in (loaded, stored)]
    return [moved(program, what, 16) for what in ("load", "store")] == expected


@of_mixtures(MIXTURES)
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


@nvidia
def test_machine_code_of_nvidia(compiled, target, tmp_path):
    """What ptxas, which could fuse by itself, makes of the program."""
    count = Counter(instructions(*compiled(target, (F32,) * 3), tmp_path))
    assert 16 * 128 * count["LDG.E.128"] == 12 * gpu.BLOCK
    assert 16 * 128 * count["STG.E.128"] == 8 * gpu.BLOCK
    assert count["FMUL"] > 0
    assert not {"FFMA", "FFMA2", "LDL", "STL"} & {name.split(".")[0] for name in count}


@one_of_each
def test_other_numbers_compile_nothing(compiled, target):
    """Zero, one and multiples of 16 would be special cases, had Triton seen integers."""
    numbers = ({}, {"lr": 0.0}, {"lr": 1.0}, {"wd": 0.0}, {"wd": 16.0}, {"lr": 1, "wd": 0})
    scalars = [SCALARS._replace(**some) for some in numbers]
    made = [compiled(target, (F32,) * 3, scalars=some) for some in scalars]
    assert all(program == made[0] for program in made)


@one_of_each
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
