"""The kernel for GPUs in Triton's interpreter, bit for bit beside the reference."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from lion_ports.config import Rule, Scalars
from lion_ports.reference import lion_update

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
triton = pytest.importorskip("triton", reason="needs triton, which is not installed")

import triton.language as tl  # noqa: E402
import triton.runtime.interpreter as interpreter  # noqa: E402

from lion_ports.torch import gpu, gpu_kernel  # noqa: E402
from lion_ports.torch.jobs import Update  # noqa: E402

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
# Of no element, of one, beside the ends of a block, and of several blocks.
SIZES = (0, 1, 7, 2047, 2048, 2049, 3 * 2048 + 5)
SCALARS = Scalars(lr=3e-3, b1=0.9, b2=0.99, wd=0.1)


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    """Run the kernel in the interpreter, with the things mended that no GPU does.

    It cuts bfloat16 off where all round to nearest even, makes other numbers of those that are
    subnormal, and keeps numbers of Python in float64, which arrive in float32.
    """
    convert, argument = interpreter._convert_float, interpreter._implicit_cvt

    def converted(value, dtype, to, rounding):
        if (dtype, to) == (tl.float32, tl.bfloat16):
            return value.view(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
        if (dtype, to) == (tl.bfloat16, tl.float32):
            return value.view(ml_dtypes.bfloat16).astype(np.float32).view(np.uint32)
        return convert(value, dtype, to, rounding)

    def single(value):
        if isinstance(value, tuple):
            return tl.tuple([single(one) for one in value])
        if not isinstance(value, float):
            return argument(value)
        number = interpreter.TensorHandle(np.array([value], np.float32), tl.float32)
        return tl.tensor(number, tl.float32)

    monkeypatch.setattr(interpreter, "_convert_float", converted)
    monkeypatch.setattr(interpreter, "_implicit_cvt", single)
    for name, value in list(vars(gpu_kernel).items()):
        if isinstance(value, triton.JITFunction):
            monkeypatch.setattr(gpu_kernel, name, interpreter.InterpretedFunction(value.fn))
    with np.errstate(all="ignore"):
        yield


def tensor(rng, size, dtype, offset=0):
    """Normal numbers and special ones, at an address that is ``offset`` elements off."""
    values = rng.normal(size=size) * 2.0 ** rng.integers(-3, 3, size)
    special = [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1.0, -1.0]
    special += [torch.finfo(dtype).tiny / 4, -torch.finfo(dtype).max, torch.finfo(dtype).max]
    where = rng.random(size) < 0.2
    values[where] = rng.choice(special, where.sum())
    memory = torch.zeros(size + offset, dtype=dtype)
    memory[offset:] = torch.from_numpy(values)
    return memory[offset:]


def updates(seed, dtypes, sizes=SIZES, offset=0):
    rng = np.random.default_rng(seed)
    return [Update(*(tensor(rng, size, dtype, offset) for dtype in dtypes)) for size in sizes]


def array(t):
    if t.dtype == torch.bfloat16:
        return t.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return t.numpy().copy()


def check(jobs, scalars=SCALARS, rule=Rule()):  # noqa: B008
    """Make the updates, and see that each has the bits of the reference; any NaN is NaN (L-010)."""
    plain = Scalars(*(s.item() if isinstance(s, torch.Tensor) else s for s in scalars))
    expected = [lion_update(*(array(t) for t in job), plain, rule) for job in jobs]
    gradients = [array(job.g).tobytes() for job in jobs]
    gpu.lion_updates_(jobs, scalars, rule)
    for job, (x, m) in zip(jobs, expected, strict=True):
        for got, want in ((array(job.x), x), (array(job.m), m)):
            nan = np.isnan(want)
            np.testing.assert_array_equal(np.isnan(got), nan)
            assert got[~nan].tobytes() == want[~nan].tobytes()
    assert [array(job.g).tobytes() for job in jobs] == gradients  # L-003


@pytest.mark.parametrize(
    "dtypes",
    list(itertools.product(DTYPES, repeat=3)),
    ids=lambda dtypes: "-".join(str(dtype).removeprefix("torch.") for dtype in dtypes),
)
def test_dtypes(dtypes):
    check(updates(1, dtypes, sizes=(2048, 5, 0, 2049)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("offset", [0, 1])
def test_many_tensors(dtype, offset):
    check(updates(2, (dtype,) * 3, offset=offset))


@pytest.mark.parametrize("wd", [0.0, 0.1])
@pytest.mark.parametrize("cautious_decay", [False, True])
@pytest.mark.parametrize("nonlinearity", ["sign", "clip"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rules(dtype, nonlinearity, cautious_decay, wd):
    steepness = 1.0 if nonlinearity == "sign" else 0.7
    rule = Rule(nonlinearity, steepness, cautious_decay=cautious_decay)
    check(updates(3, (dtype,) * 3, sizes=(2100,)), SCALARS._replace(wd=wd), rule)


@pytest.mark.parametrize("x", DTYPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("peak", [None, 0.007])
def test_tensors_for_numbers(x, dtype, peak):
    lr, wd = torch.tensor(3e-3, dtype=dtype), torch.tensor(0.1, dtype=dtype)
    numbers = SCALARS._replace(lr=lr, wd=wd, lr_peak=peak)
    check(updates(4, (x, torch.float32, x), sizes=(2100,)), numbers)


def test_dtypes_in_one_call():
    jobs = [updates(5, (dtype,) * 3, sizes=(10, 3000)) for dtype in DTYPES]
    check([job for pair in zip(*jobs, strict=True) for job in pair])


def test_numbers_by_pointer(monkeypatch):
    """As tensors of the device come, which are not looked at by the host."""
    numbers = gpu._numbers

    def pointers(*args):
        return tuple(torch.as_tensor(n, dtype=torch.float64) for n in numbers(*args))

    monkeypatch.setattr(gpu, "_numbers", pointers)
    check(updates(6, (torch.bfloat16,) * 3))


def test_steps_in_a_row_and_other_memory():
    """The table is that of the tensors at hand, whatever was cached."""
    job = updates(7, (torch.float32,) * 3, sizes=(3000,))
    for _ in range(3):
        check(job)
    check([job[0]._replace(g=job[0].g.clone())])
    check([job[0]._replace(x=job[0].x[:2999], g=job[0].g[1:], m=job[0].m[:2999])])


def test_double_rounding():
    """float64 to bfloat16 and float16: just above a tie, which float32 would make of it."""
    ties = torch.tensor([1.00390625, 1.00048828125], dtype=torch.float64)
    x = torch.zeros(2, dtype=torch.float64)
    for dtype in (torch.bfloat16, torch.float16):
        above = Update(x.clone(), ties * (1 + 2.0**-40), torch.zeros(2, dtype=dtype))
        check([above], Scalars(lr=0.5, b1=0.5, b2=0.0, wd=0.0))


def test_nothing_to_do():
    gpu.lion_updates_([], SCALARS)
    check(updates(8, (torch.float32,) * 3, sizes=(0, 0)))


@pytest.mark.parametrize("broken", ["cut off", "float64"])
def test_the_check_finds(monkeypatch, broken):
    """The interpreter as it is fails it."""
    monkeypatch.undo()
    for name, value in list(vars(gpu_kernel).items()):
        if isinstance(value, triton.JITFunction):
            monkeypatch.setattr(gpu_kernel, name, interpreter.InterpretedFunction(value.fn))
    dtype = torch.bfloat16 if broken == "cut off" else torch.float32
    with pytest.raises((AssertionError, interpreter.InterpreterError)):
        check(updates(9, (dtype,) * 3))
