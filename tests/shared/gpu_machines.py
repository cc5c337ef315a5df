"""The kernels for GPUs in Triton's interpreter, or on a GPU, and the tensors they are tried on."""

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
triton = pytest.importorskip("triton", reason="needs triton, which is not installed")

import triton.language as tl  # noqa: E402
import triton.runtime.interpreter as interpreter  # noqa: E402

CONVERT = interpreter._convert_float
MACHINES = ["interpreter", *(["cuda"] if torch.cuda.is_available() else [])]


def interpret(monkeypatch, *modules):
    """Have kernels interpreted, with the things mended that no GPU does.

    The interpreter cuts bfloat16 off where all round to nearest even, makes other numbers of those
    that are subnormal, keeps numbers of Python in float64, which arrive in float32, and loads zero
    where nothing is loaded, which may be anything.

    Args:
        monkeypatch: pytest's, which puts all back.
        modules: what has the kernels, and the functions of Triton that they call.
    """
    argument = interpreter._implicit_cvt
    load = interpreter.InterpreterBuilder.create_masked_load

    def converted(value, dtype, to, rounding):
        if (dtype, to) == (tl.float32, tl.bfloat16):
            return value.view(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
        if (dtype, to) == (tl.bfloat16, tl.float32):
            return value.view(ml_dtypes.bfloat16).astype(np.float32).view(np.uint32)
        return CONVERT(value, dtype, to, rounding)

    def single(value):
        if isinstance(value, tuple):
            return tl.tuple([single(one) for one in value])
        if not isinstance(value, float):
            return argument(value)
        number = interpreter.TensorHandle(np.array([value], np.float32), tl.float32)
        return tl.tensor(number, tl.float32)

    def anything(self, pointers, mask, other, *options):
        loaded = load(self, pointers, mask, other, *options)
        if other is None:
            loaded.data[~mask.data] = 17  # as a bfloat16 or float16, a subnormal number
        return loaded

    # For functions of Triton's, which the interpreter would leave changed.
    def total(value):
        return integers(value.handle.data.sum(dtype=np.int32, keepdims=True))

    def largest(value, axis):
        return integers(value.handle.data.max(axis))

    def integers(array):
        shape = [] if array.size == 1 else list(array.shape)
        kind = tl.block_type(tl.int32, shape) if shape else tl.int32
        return tl.tensor(interpreter.TensorHandle(array, tl.int32), kind)

    monkeypatch.setattr(tl, "sum", total)
    monkeypatch.setattr(tl, "max", largest)
    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_masked_load", anything)
    monkeypatch.setattr(interpreter, "_convert_float", converted)
    monkeypatch.setattr(interpreter, "_implicit_cvt", single)
    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, triton.JITFunction):
                monkeypatch.setattr(module, name, interpreter.InterpretedFunction(value.fn))


def note_launches(monkeypatch, module, kernel):
    """A list to which the grids are added that a kernel is launched with."""
    launched, grids = getattr(module, kernel), []

    class Noted:
        def __getitem__(self, grid):
            grids.append(grid)
            return launched[grid]

    monkeypatch.setattr(module, kernel, Noted())
    return grids


def tensor(rng, size, dtype, device, offset=0):
    """Normal numbers and special ones, at an address that is ``offset`` elements off."""
    values = rng.normal(size=size) * 2.0 ** rng.integers(-3, 3, size)
    special = [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1.0, -1.0]
    special += [torch.finfo(dtype).tiny / 4, -torch.finfo(dtype).max, torch.finfo(dtype).max]
    where = rng.random(size) < 0.2
    values[where] = rng.choice(special, where.sum())
    memory = torch.zeros(size + offset, dtype=dtype, device=device)
    memory[offset:] = torch.from_numpy(values).to(dtype).to(device)
    return memory[offset:]


def array(t):
    t = t.cpu()
    if t.dtype == torch.bfloat16:
        return t.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return t.numpy().copy()


def check_same(got, want):
    """See that an array has all bits of another; any NaN is NaN (L-010)."""
    there = ~np.isnan(want)
    np.testing.assert_array_equal(np.isnan(got), ~there)
    assert got.dtype == want.dtype
    assert got[there].tobytes() == want[there].tobytes()
