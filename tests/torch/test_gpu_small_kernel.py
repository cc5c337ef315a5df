"""The kernel for small state beside the reference, bit for bit: interpreted, and on a GPU."""

import itertools

import numpy as np
import pytest

from lion_ports.config import Rule, Scalars
from lion_ports.reference import decode, encode, join, lion_update, split

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("triton", reason="needs triton, which is not installed")

from gpu_machines import (  # noqa: E402
    MACHINES,
    array,
    check_same,
    interpret,
    note_launches,
    tensor,
)

from lion_ports.torch import gpu_kernel, gpu_small, gpu_small_kernel  # noqa: E402
from lion_ports.torch.gpu_table import Table  # noqa: E402
from lion_ports.torch.jobs import SmallUpdate  # noqa: E402
from lion_ports.torch.storage import (  # noqa: E402
    load_momentum,
    load_parameter,
    scale_count,
    store_momentum,
    store_parameter,
)
from lion_ports.torch.update import lion_update_  # noqa: E402

F16, F32, F64, BF16 = torch.float16, torch.float32, torch.float64, torch.bfloat16
I8, I16 = torch.int8, torch.int16
FLOATS = (BF16, F16, F32, F64)
# Parameter, gradient, momentum (int8: codes), correction.
MIXTURES = [
    *itertools.product(FLOATS, FLOATS, [I8], [None]),
    *itertools.product([BF16], FLOATS, [I8], [I8, I16]),
    *itertools.product([BF16], FLOATS, FLOATS, [I8, I16]),
]
BOTH = BF16, BF16, I8, I8
# Of no element, of one, beside the ends of the blocks that share a scale, and of programs.
SIZES = (0, 1, 127, 128, 129, 2047, 2048, 2049, 3 * 2048 + 5)
SCALARS = Scalars(lr=3e-3, b1=0.9, b2=0.99, wd=0.1)


@pytest.fixture(autouse=True, params=MACHINES)
def machine(request, monkeypatch):
    """Where the kernel runs, as a device."""
    if request.param == "cuda":
        return "cuda"
    interpret(monkeypatch, gpu_kernel, gpu_small_kernel)
    return "cpu"


@pytest.fixture
def launches(monkeypatch):
    """The grids that the kernel was launched with."""
    return note_launches(monkeypatch, gpu_small_kernel, "small_lion_kernel")


def any_of(rng, size, dtype, device, offset=0):
    """Floats as :func:`tensor` has them, or any integers, at an address that is off."""
    if dtype.is_floating_point:
        return tensor(rng, size, dtype, device, offset)
    info = torch.iinfo(dtype)
    values = rng.integers(info.min, info.max + 1, size + offset)
    return torch.from_numpy(values).to(dtype).to(device)[offset:]


def scales_of(rng, size, device):
    """Some as of gradients around 1, some the least and the largest, and all between them."""
    count = scale_count(size)
    exponents = np.where(rng.random(count) < 0.7, 2, rng.integers(-111, 128, count))
    exponents[1::7], exponents[2::7] = -111, 127
    return torch.from_numpy(2.0**exponents).to(BF16).to(device)


def updates(device, seed, dtypes, sizes=SIZES, offset=0, count=5):
    rng = np.random.default_rng(seed)
    made = []
    for size in sizes:
        x, g, m, correction = (
            None if dtype is None else any_of(rng, size, dtype, device, offset) for dtype in dtypes
        )
        scale = scales_of(rng, size, device) if m.dtype == I8 else None
        for start in range(0, size, 3 * 128):  # blocks of zeros, and of what becomes subnormal
            g[start : start + 128] *= 0 if start % 256 else 1e-38
            m[start : start + 128] = 0
        made.append(SmallUpdate(x, g, m, scale, correction, count))
    return made


def expected(job, scalars, rule, maximize):
    """What the reference makes of an update, and the gradient, which stays (L-003)."""
    x, g, m, scale, correction = (None if t is None else array(t) for t in job[:5])
    whole = x if correction is None else join(x, correction)
    wide = m if scale is None else decode(m, scale)
    whole, wide = lion_update(whole, -g if maximize else g, wide, scalars, rule)
    x, correction = (
        (whole, None)
        if correction is None
        else split(whole, 8 * correction.dtype.itemsize, job.updates)
    )
    m, scale = (wide, None) if scale is None else encode(wide, job.updates)
    return x, g, m, scale, correction


def check(jobs, scalars=SCALARS, rule=Rule(), *, maximize=False):  # noqa: B008
    """Make the updates, and see that each has the bits of the reference; any NaN is NaN (L-010)."""
    plain = Scalars(*(s.item() if isinstance(s, torch.Tensor) else s for s in scalars))
    with np.errstate(all="ignore"):
        due = [expected(job, plain, rule, maximize) for job in jobs]
        gpu_small.lion_updates_(jobs, scalars, rule, maximize=maximize)
    for job, wanted in zip(jobs, due, strict=True):
        for got, want in zip(job[:5], wanted, strict=True):
            if want is not None:
                check_same(array(got), want)


@pytest.mark.parametrize(
    "dtypes",
    MIXTURES,
    ids=lambda dtypes: "-".join(str(dtype).removeprefix("torch.") for dtype in dtypes),
)
def test_dtypes(machine, dtypes):
    check(updates(machine, 1, dtypes, sizes=(2048, 5, 0, 2049)))


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("dtypes", [BOTH, (F32, F32, I8, None), (BF16, BF16, F32, I16)], ids=str)
def test_one_launch_for_many_tensors(machine, launches, dtypes, offset):
    check(updates(machine, 2, dtypes, offset=offset))
    assert launches == [(1 + 1 + 1 + 1 + 1 + 1 + 2 + 4,)]


@pytest.mark.parametrize("wd", [0.0, 1e-60, 0.1])
@pytest.mark.parametrize("cautious_decay", [False, True])
@pytest.mark.parametrize("nonlinearity", ["sign", "clip"])
@pytest.mark.parametrize("dtypes", [BOTH, (F64, F32, I8, None)], ids=str)
def test_rules(machine, dtypes, nonlinearity, cautious_decay, wd):
    steepness = 1.0 if nonlinearity == "sign" else 0.7
    rule = Rule(nonlinearity, steepness, cautious_decay=cautious_decay)
    check(updates(machine, 3, dtypes, sizes=(2100,)), SCALARS._replace(wd=wd), rule)


@pytest.mark.parametrize("dtypes", [BOTH, (F16, F16, I8, None), (BF16, BF16, BF16, I16)], ids=str)
def test_maximize(machine, dtypes):
    check(updates(machine, 4, dtypes), maximize=True)


@pytest.mark.parametrize("dtypes", [BOTH, (F64, F64, I8, None)], ids=str)
@pytest.mark.parametrize("peak", [None, 0.007])
def test_tensors_for_numbers(machine, dtypes, peak):
    lr, wd = (torch.tensor(n, dtype=F32, device=machine) for n in (3e-3, 0.1))
    numbers = SCALARS._replace(lr=lr, wd=wd, lr_peak=peak)
    check(updates(machine, 5, dtypes, sizes=(2100,)), numbers)


def test_pointers_for_numbers(machine, monkeypatch):
    """As tensors of a device come, which are not looked at by the host."""
    numbers = gpu_small.numbers_of

    def pointers(*args):
        return tuple(torch.as_tensor(n, dtype=F64).to(machine) for n in numbers(*args))

    monkeypatch.setattr(gpu_small, "numbers_of", pointers)
    check(updates(machine, 6, BOTH))


@pytest.mark.parametrize("count", [0, 1, 16, 2**31 - 1, 2**31, 2**40 + 3])
def test_counts(machine, count):
    check(updates(machine, 7, BOTH, sizes=(300,), count=count))


def test_a_nan_of_all_bits(machine):
    """As NVIDIA's GPUs make any: what is added to it for a rounding makes it negative."""
    for dtypes in (BOTH, (BF16, BF16, F32, I8), (F32, F32, I8, None)):
        (job,) = updates(machine, 17, dtypes, sizes=(300,))
        nan = torch.full((300,), 0x7FFFFFFF, dtype=torch.int32, device=machine).view(F32)
        check([job._replace(g=nan)])


def test_dtypes_and_counts_in_one_call(machine, launches):
    kinds = [BOTH, (BF16, BF16, I8, I16), (BF16, BF16, I8, None), (F32, F32, I8, None)]
    jobs = [updates(machine, 8, dtypes, sizes=(10, 3000)) for dtypes in kinds]
    jobs.append(updates(machine, 8, BOTH, sizes=(10, 3000), count=6))
    check([job for pair in zip(*jobs, strict=True) for job in pair])
    assert launches == [(3,)] * 5


def test_steps_in_a_row_and_other_memory(machine):
    """The table is that of the tensors at hand, whatever was kept."""
    (job,) = updates(machine, 9, BOTH, sizes=(3000,))
    for count in range(3):
        check([job._replace(updates=count)])
    check([job._replace(g=job.g.clone())])
    others = {name: getattr(job, name)[:2900] for name in ("x", "m", "correction")}
    check([job._replace(g=job.g[100:], scale=job.scale[: scale_count(2900)], **others)])


def test_nothing_beyond_the_tensors_is_written(machine):
    """Scales as well end in the middle of what one program takes."""
    for size in (1, 129, 2049):
        (job,) = updates(machine, 10, BOTH, sizes=(4096,))
        tensors = [t.clone() for t in job[:5]]
        cut = [t[: scale_count(size) if t is tensors[3] else size] for t in tensors]
        check([SmallUpdate(*cut, 3)])
        for t, before, part in zip(tensors, job[:5], cut, strict=True):
            rest = part.numel()
            check_same(array(t[rest:]), array(before[rest:]))


def test_default_device(machine):
    """What is made on the host is made there, whatever ``torch.set_default_device`` says."""
    for dtypes in (BOTH, (F64, F64, I8, None)):
        jobs = updates(machine, 11, dtypes)
        with torch.device("meta"):
            check(jobs, SCALARS._replace(lr_peak=0.01))


@pytest.mark.parametrize("start", [2**31 - 2048, 2**31, 2**32, 2**40])
def test_places_that_an_int32_does_not_hold(machine, monkeypatch, start):
    """A part of a tensor that is not there before and after: addresses are 64 bits, dithers 32."""
    made, table_of = updates(machine, 12, BOTH, sizes=(4096 + 77,)), gpu_small.table_of
    due = [t.clone() for t in made[0][:5]]

    def moved(columns, block):
        rows, owners = table_of(columns, block)
        row = [column[0] for column in columns]
        sizes = [start * t.itemsize if t.numel() > 100 else start // 128 * 2 for t in row]
        rows = rows - torch.tensor([*sizes, -start, start // block], device=machine)
        return Table(rows, owners)

    monkeypatch.setattr(gpu_small, "table_of", moved)
    with np.errstate(all="ignore"):
        gpu_small.lion_updates_(made, SCALARS, Rule())
    x, g, m, scale, correction = due
    whole, wide = load_parameter(x, correction), load_momentum(m, scale)
    lion_update_(whole, g, wide, SCALARS)
    store_parameter(whole, x, correction, 5, start)
    store_momentum(wide, m, scale, 5, start)
    for got, want in zip(made[0][:5], due, strict=True):
        check_same(array(got), array(want))


def test_nothing_to_do(machine, launches):
    gpu_small.lion_updates_([], SCALARS, Rule())
    check(updates(machine, 13, BOTH, sizes=(0, 0)))
    assert launches == []


@pytest.mark.skipif(MACHINES != ["interpreter"], reason="looks on, which a GPU does not let one")
@pytest.mark.parametrize("offset", [0, 1])
def test_whole_and_aligned_blocks_are_not_masked(machine, monkeypatch, offset):
    update, masked = gpu_small_kernel._update_small, []

    def seen(x, g, m, s, r, rest, *others):
        masked.append(rest is not None)
        update(x, g, m, s, r, rest, *others)

    monkeypatch.setattr(gpu_small_kernel, "_update_small", seen)
    check(updates(machine, 14, BOTH, sizes=(5000,), offset=offset))
    assert masked == ([True] * 3 if offset else [False, False, True])


def test_what_is_taken():
    """On a CPU nothing is, whatever it looks like."""
    (job,) = updates("cpu", 15, BOTH, sizes=(130,))
    assert not gpu_small.takes(*job, Rule())


@pytest.mark.parametrize("fault", ["lion_columns_", "table_of"])
def test_the_check_finds(machine, monkeypatch, fault):
    """Another count, and the scales of the rows that come after."""
    make, table = gpu_small.lion_columns_, gpu_small.table_of

    def next_count(*columns):
        make(*columns[:-1], columns[-1]._replace(before=columns[-1].before + 1))

    def next_scales(columns, block):
        rows, owners = table(columns, block)
        return Table(rows + torch.tensor([0, 0, 0, 2, 0, 0, 0], device=machine), owners)

    faults = {"lion_columns_": next_count, "table_of": next_scales}
    (job,) = updates(machine, 16, BOTH, sizes=(2048,))
    scale = torch.cat([job.scale, job.scale])  # there are some to come
    monkeypatch.setattr(gpu_small, fault, faults[fault])
    with pytest.raises(AssertionError):
        check([job._replace(scale=scale[: len(job.scale)])])
