"""The kernel for GPUs beside the reference, bit for bit: in Triton's interpreter, and on a GPU."""

import numpy as np
import pytest

from lion_ports.config import Rule, Scalars
from lion_ports.reference import lion_update

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("triton", reason="needs triton, which is not installed")

import triton.runtime.interpreter as interpreter  # noqa: E402
from gpu_machines import (  # noqa: E402
    CONVERT,
    MACHINES,
    array,
    check_same,
    interpret,
    note_launches,
    tensor,
)
from usual import covering, in_pairs  # noqa: E402

from lion_ports.torch import gpu, gpu_kernel  # noqa: E402
from lion_ports.torch.jobs import Settings, Update, alike  # noqa: E402

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
# Of no element, of one, beside the ends of a block, and of several blocks.
SIZES = (0, 1, 7, 2047, 2048, 2049, 3 * 2048 + 5)
SCALARS = Scalars(lr=3e-3, b1=0.9, b2=0.99, wd=0.1)
dtype_ids = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@pytest.fixture(autouse=True, params=MACHINES)
def machine(request, monkeypatch):
    """Where the kernel runs, as a device."""
    if request.param == "cuda":
        return "cuda"
    interpret(monkeypatch, gpu_kernel)
    return "cpu"


@pytest.fixture
def launches(monkeypatch):
    """The grids that the kernel was launched with."""
    return note_launches(monkeypatch, gpu_kernel, "lion_kernel")


def updates(device, seed, dtypes, sizes=SIZES, offset=0):
    rng = np.random.default_rng(seed)
    return [
        Update(*(tensor(rng, size, dtype, device, offset) for dtype in dtypes)) for size in sizes
    ]


def check(jobs, scalars=SCALARS, rule=Rule(), *, maximize=False):  # noqa: B008
    """Make the updates, and see that each has the bits of the reference; any NaN is NaN (L-010)."""
    plain = Scalars(*(s.item() if isinstance(s, torch.Tensor) else s for s in scalars))
    expected = []
    for job in jobs:
        x, g, m = (array(t) for t in job)
        expected.append(lion_update(x, -g if maximize else g, m, plain, rule))
    gradients = [array(job.g).tobytes() for job in jobs]
    with np.errstate(all="ignore"):
        gpu.lion_updates_(jobs, scalars, rule, maximize=maximize)
    for job, (x, m) in zip(jobs, expected, strict=True):
        check_same(array(job.x), x)
        check_same(array(job.m), m)
    assert [array(job.g).tobytes() for job in jobs] == gradients  # L-003


@pytest.mark.parametrize(
    ("x", "g", "m"),
    in_pairs(DTYPES, DTYPES, DTYPES),
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)
def test_dtypes(machine, x, g, m):
    check(updates(machine, 1, (x, g, m), sizes=(2048, 5, 0, 2049)))


@dtype_ids
def test_what_is_done_before_to_gradients(machine, launches, dtype):
    """In the same launch: unscaled, bounded, and brought within a norm (L-024, L-026, L-027)."""
    compute = torch.promote_types(dtype, torch.float32)
    factors = torch.linspace(0.25, 1, len(SIZES), dtype=compute, device=machine)
    for unscale in (0.3, torch.tensor(0.3, dtype=torch.float64, device=machine)):
        jobs = updates(machine, 5, (dtype, torch.bfloat16, torch.float32))
        wide = [array(job.g.to(compute)) for job in jobs]
        with np.errstate(all="ignore"):
            wide = [np.clip(g * g.dtype.type(0.3), -0.25, 0.25) for g in wide]
            wide = [g * factor for g, factor in zip(wide, array(factors), strict=True)]
        due = [
            lion_update(array(job.x), g, array(job.m), SCALARS)
            for job, g in zip(jobs, wide, strict=True)
        ]
        settings = Settings(SCALARS, Rule(), False, unscale, 0.25)
        launches.clear()
        with np.errstate(all="ignore"):
            gpu.lion_columns_(*zip(*jobs, strict=True), settings, factors=factors)
        assert len(launches) == 1
        for job, (x, m) in zip(jobs, due, strict=True):
            check_same(array(job.x), x)
            check_same(array(job.m), m)


@dtype_ids
@pytest.mark.parametrize("offset", [0, 1])
def test_one_launch_for_many_tensors(machine, launches, dtype, offset):
    check(updates(machine, 2, (dtype,) * 3, offset=offset))
    assert launches == [(1 + 1 + 1 + 1 + 2 + 4,)]


RULES = [
    Rule(nonlinearity, steepness, cautious, 1.75, cautious_decay)
    for nonlinearity, steepness in (("sign", 1.0), ("clip", 0.7))
    for cautious in (False, True)
    for cautious_decay in (False, True)
]


@pytest.mark.parametrize(
    ("rule", "dtype", "wd"),
    covering(RULES, DTYPES, [0.0, 1e-60, 0.1]),
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_rules(machine, rule, dtype, wd):
    check(updates(machine, 3, (dtype,) * 3, sizes=(2100,)), SCALARS._replace(wd=wd), rule)


@dtype_ids
@pytest.mark.parametrize("offset", [0, 1])
def test_cautious_counts_by_tensor(machine, launches, dtype, offset):
    rule = Rule(cautious=True)
    check(updates(machine, 4, (dtype,) * 3, offset=offset), rule=rule, maximize=True)
    assert len(launches) == 2


@pytest.mark.skipif(MACHINES != ["interpreter"], reason="looks on, which a GPU does not let one")
@pytest.mark.parametrize("offset", [0, 1])
def test_whole_and_aligned_blocks_are_not_masked(machine, monkeypatch, offset):
    update, masked = gpu_kernel._update, []

    def seen(x, g, m, rest, *others):
        masked.append(rest is not None)
        update(x, g, m, rest, *others)

    monkeypatch.setattr(gpu_kernel, "_update", seen)
    check(updates(machine, 13, (torch.float32,) * 3, sizes=(5000,), offset=offset))
    assert masked == ([True] * 3 if offset else [False, False, True])


@dtype_ids
def test_maximize(machine, dtype):
    check(updates(machine, 5, (dtype,) * 3), maximize=True)


@pytest.mark.parametrize(
    ("x", "dtype", "peak"), covering(DTYPES, DTYPES[1:] + DTYPES[:1], [None, 0.007]), ids=str
)
def test_tensors_for_numbers(machine, x, dtype, peak):
    lr, wd = (torch.tensor(n, dtype=dtype, device=machine) for n in (3e-3, 0.1))
    numbers = SCALARS._replace(lr=lr, wd=wd, lr_peak=peak)
    check(updates(machine, 6, (x, torch.float32, x), sizes=(2100,)), numbers)


def test_pointers_for_numbers(machine, monkeypatch):
    """As tensors of a device come, which are not looked at by the host."""
    numbers = gpu.numbers_of

    def pointers(*args):
        return tuple(torch.as_tensor(n, dtype=torch.float64).to(machine) for n in numbers(*args))

    monkeypatch.setattr(gpu, "numbers_of", pointers)
    check(updates(machine, 7, (torch.bfloat16,) * 3))


def test_dtypes_in_one_call(machine, launches):
    jobs = [updates(machine, 8, (dtype,) * 3, sizes=(10, 3000)) for dtype in DTYPES]
    check([job for pair in zip(*jobs, strict=True) for job in pair])
    assert launches == [(3,)] * 4


def test_steps_in_a_row_and_other_memory(machine):
    """The table is that of the tensors at hand, whatever was kept."""
    (job,) = updates(machine, 9, (torch.float32,) * 3, sizes=(3000,))
    for _ in range(3):
        check([job])
    check([job._replace(g=job.g.clone())])
    check([Update(job.x[:2999], job.g[1:], job.m[:2999])])


def test_default_device(machine):
    """What is made on the host is made there, whatever ``torch.set_default_device`` says."""
    for dtype in (torch.float32, torch.float64):
        jobs = updates(machine, 10, (dtype,) * 3)
        with torch.device("meta"):
            check(jobs, SCALARS._replace(lr_peak=0.01), Rule(cautious=True))


def test_one_rounding_to_16_bits(machine):
    """From float64, just above a tie, which float32 would make of it (L-008)."""
    ties = torch.tensor([1.00390625, 1.00048828125], dtype=torch.float64, device=machine)
    for dtype in (torch.bfloat16, torch.float16):
        x, m = torch.zeros_like(ties), torch.zeros_like(ties, dtype=dtype)
        check([Update(x, ties * (1 + 2.0**-40), m)], Scalars(lr=0.5, b1=0.5, b2=0.0, wd=0.0))


def test_nothing_to_do(machine, launches):
    gpu.lion_updates_([], SCALARS)
    check(updates(machine, 11, (torch.float32,) * 3, sizes=(0, 0)))
    assert launches == []


def test_what_is_taken():
    """On a CPU nothing is, whatever it looks like."""
    x = torch.ones(2, 3)
    assert not gpu.takes(x, x, x)
    assert alike(x, x.clone(), x.clone())
    assert alike(x.T, x.clone().T, x.clone().T)
    assert not alike(x, torch.ones(3, 2).T, x)
    assert not alike(*[torch.ones(2, 6)[:, ::2]] * 3)
    assert not alike(*[torch.ones(3).expand(2, 3)] * 3)
    assert alike(*[torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)] * 3)


@pytest.mark.parametrize("fault", ["1-b in float32", "bfloat16 cut off"])
def test_the_check_finds(machine, monkeypatch, fault):
    dtype = torch.bfloat16 if fault == "bfloat16 cut off" else torch.float32
    jobs = updates(machine, 12, (dtype,) * 3)
    numbers = gpu.numbers_of
    if fault == "1-b in float32":
        single = [float(1 - np.float32(b)) for b in (0.9, 0.99)]

        def late(*args):
            lr, b1, _, b2, _, *others = numbers(*args)
            return (lr, b1, single[0], b2, single[1], *others)

        monkeypatch.setattr(gpu, "numbers_of", late)
    elif machine == "cpu":
        monkeypatch.setattr(interpreter, "_convert_float", CONVERT)
    else:
        pytest.skip("no GPU cuts bfloat16 off: this is of the interpreter alone")
    with pytest.raises(AssertionError):
        check(jobs)
