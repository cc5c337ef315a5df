"""The kernel for small state, compiled for GPUs that are not here: what is in the machine code.

The launches are those of ``lion_updates_``, up to the point where a driver would be asked.
"""

from collections import Counter

import pytest

from lion_ports.config import Rule, Scalars

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("triton", reason="needs triton, which is not installed")

from gpu_programs import (  # noqa: E402
    ONE_OF_EACH,
    fused,
    inexact,
    instructions,
    moved,
    name,
    nvidia,
    of_mixtures,
    one_of_each,
    programs,
    spilt,
    targets,
)
from usual import usually  # noqa: E402

from lion_ports.torch import gpu, gpu_small, gpu_small_kernel  # noqa: E402
from lion_ports.torch.jobs import SmallUpdate  # noqa: E402
from lion_ports.torch.storage import zero_scales  # noqa: E402

BF16, F16, F32, F64 = torch.bfloat16, torch.float16, torch.float32, torch.float64
I8, I16 = torch.int8, torch.int16
# Of parameters, gradients, momenta and corrections.
MIXTURES = [
    (F32, F32, I8, None),
    (BF16, BF16, I8, I8),
    (BF16, F32, I8, I16),
    (F32, BF16, I8, None),
    (F16, F16, I8, None),
    (BF16, BF16, I8, None),
    (BF16, BF16, BF16, I8),
    (BF16, BF16, F32, I16),
]
SCALARS = Scalars(lr=1e-4, b1=0.9, b2=0.99, wd=0.1)


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """A function that gives the programs that updates launch; torch is as built for the target."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def job(size, dtypes, count):
        x, g, m, correction = (None if d is None else torch.zeros(size, dtype=d) for d in dtypes)
        return SmallUpdate(x, g, m, zero_scales(m) if m.dtype == I8 else None, correction, count)

    def compile(target, dtypes, rule=Rule(), scalars=SCALARS, count=5, **broken):  # noqa: B008
        updates = [job(size, dtypes, count) for size in (5, 10_000, 0)]

        def update():
            gpu_small.lion_updates_(updates, scalars, rule)

        monkeypatch.setattr(torch.version, "hip", "7" if target.backend == "hip" else None)
        kernel = "small_lion_kernel"
        return programs(monkeypatch, gpu_small_kernel, kernel, target, update, **broken)

    yield compile
    gpu_small_kernel.small_lion_kernel.device_caches.clear()  # later tests compile anew


def moves_wide(program, loaded, stored):
    """Whether a whole block of these dtypes is moved in pieces as wide as 8 elements a lane allow.

    They are 8 bytes of integers of 8 bits, and 16 of all else.
    """
    expected, found = [], []
    for what, dtypes in (("load", loaded), ("store", stored)):
        sizes = [dtype.itemsize for dtype in dtypes if dtype is not None]
        expected += [
            gpu.BLOCK * sum(size for size in sizes if size > 1),
            gpu.BLOCK * sizes.count(1),
        ]
        found += [moved(program, what, 16), moved(program, what, 8)]
    return found == expected


@of_mixtures(MIXTURES)
def test_program(compiled, target, dtypes, tmp_path):
    (program,) = compiled(target, dtypes)
    x, _, m, correction = dtypes
    assert moves_wide(program, dtypes, (x, m, correction))
    assert fused(program) == inexact(program) == []
    assert spilt(program, tmp_path) == 0


@targets
def test_float64(compiled, target, tmp_path):
    """Where 8 bytes are one number as well, as at an end."""
    (program,) = compiled(target, (F64, F64, I8, None))
    assert (moved(program, "load", 16), moved(program, "store", 16)) == (
        2 * 8 * gpu.BLOCK,
        8 * gpu.BLOCK,
    )
    assert fused(program) == inexact(program) == []
    assert spilt(program, tmp_path) == 0


@targets
def test_rules(compiled, target, tmp_path):
    rule = Rule("clip", steepness=2.0, cautious_decay=True)
    dtypes = BF16, BF16, I8, I8
    (program,) = compiled(target, dtypes, rule)
    assert moves_wide(program, dtypes, (BF16, I8, I8))
    assert fused(program) == inexact(program) == []
    assert spilt(program, tmp_path) == 0


@nvidia
def test_machine_code_of_nvidia(compiled, target, tmp_path):
    """What ptxas, which could fuse by itself, makes of the program."""
    (program,) = compiled(target, (BF16, BF16, I8, I8))
    count = Counter(instructions(program, tmp_path))
    assert 16 * 256 * count["LDG.E.128"] == 4 * gpu.BLOCK
    assert 16 * 256 * count["STG.E.128"] == 2 * gpu.BLOCK
    assert 8 * 256 * count["STG.E.64"] == 2 * gpu.BLOCK
    names = {name.split(".")[0] for name in count}
    assert {"FMUL", "FMUL2"} & names
    assert not {"FFMA", "FFMA2", "LDL", "STL"} & names


@one_of_each
def test_other_numbers_compile_nothing(compiled, target):
    """Zero, one and multiples of 16 would be special cases, had Triton seen integers."""
    scalars = [SCALARS, SCALARS._replace(lr=0.0), SCALARS._replace(lr=1, wd=16.0)]
    made = [compiled(target, (F32, F32, I8, None), scalars=some) for some in scalars]
    assert all(program == made[0] for program in made)


@one_of_each
def test_other_counts_compile_nothing(compiled, target):
    """They are integers that Triton sees."""
    counts = (0, 1, 2, 15, 16, 1 << 20, (1 << 31) - 1)
    made = [compiled(target, (BF16, BF16, I8, I8), count=count) for count in counts]
    assert all(program == made[0] for program in made)


@pytest.mark.parametrize("target", usually(ONE_OF_EACH[:1], ONE_OF_EACH), ids=name)
def test_the_checks_find(compiled, target, tmp_path):
    """Fusion, blocks too small for so many lanes, and too few registers."""
    dtypes = BF16, BF16, I8, I8
    assert fused(*compiled(target, dtypes, enable_fp_fusion=True))
    small = compiled(target, dtypes, BLOCK=1024)
    assert not moves_wide(*small, dtypes, (BF16, I8, I8))
    few = {"maxnreg": 24} if target.backend == "cuda" else {"waves_per_eu": 4, "BLOCK": 8192}
    assert spilt(*compiled(target, (F64, F64, I8, None), **few), tmp_path) > 0
