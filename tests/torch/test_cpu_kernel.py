"""The kernel for CPUs beside the reference and the plain operations, bit for bit."""

import importlib
import itertools
import re
import sys
from pathlib import Path

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from usual import usually

from lion_ports.config import Rule, Scalars
from lion_ports.reference import lion_update

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("numba", reason="needs numba, which is not installed")

import lion_ports.torch  # noqa: E402
from lion_ports.torch import Lion, cpu, cpu_kernel, cpu_numbers, lion_update_  # noqa: E402
from lion_ports.torch.jobs import Update  # noqa: E402

DTYPES = {
    torch.float32: (np.uint32, np.float32),
    torch.float64: (np.uint64, np.float64),
    torch.bfloat16: (np.uint16, ml_dtypes.bfloat16),
    torch.float16: (np.uint16, np.float16),
}
F32, F64, BF16, F16 = DTYPES
MIXTURES = [
    *((dtype,) * 3 for dtype in DTYPES),
    (F32, BF16, F32),
    (F32, F64, BF16),
    (BF16, F32, F32),
    (BF16, F16, BF16),
    (F16, F32, BF16),
    (F64, F32, BF16),
]
OTHERS = [mixture for mixture in itertools.product(DTYPES, repeat=3) if mixture not in MIXTURES]
# Of no element, of one, primes, and beside multiples of the widest vectors.
SIZES = (0, 1, 2, 7, 31, 32, 33, 255, 256, 257, 1009)
SCALARS = Scalars(lr=3e-3, b1=0.9, b2=0.99, wd=0.1)
WAYS = {
    "lion": (SCALARS, Rule(), False),
    "no decay": (SCALARS._replace(wd=0), Rule(), False),
    "a decay that rounds to 0": (SCALARS._replace(wd=1e-60), Rule(), False),
    "independent": (SCALARS._replace(lr_peak=0.7), Rule(), False),
    "maximize": (SCALARS, Rule(), True),
    "clip": (SCALARS, Rule("clip", steepness=0.7), False),
    "cautious": (SCALARS, Rule(cautious=True, cautious_cap=1.5), False),
    "cautious decay": (SCALARS, Rule(cautious_decay=True), False),
    "all": (SCALARS, Rule("clip", 3.0, True, 4.0, True), True),
}


def tensor(rng, size, dtype):
    """Normal numbers of many sizes, zeros, infinities, and a quarter of any bits at all."""
    unsigned, kind = DTYPES[dtype]
    with np.errstate(all="ignore"):
        values = (rng.normal(size=size) * 2.0 ** rng.integers(-12, 3, size)).astype(kind)
    bits = values.view(unsigned)
    any_bits = rng.integers(0, np.iinfo(unsigned).max, size, unsigned, endpoint=True)
    where = rng.integers(0, 20, size)
    bits[where < 4] = any_bits[where < 4]
    bits[where == 4] = unsigned(1) << np.iinfo(unsigned).bits - 1  # -0
    bits[where == 5] = 0
    values[where == 7] = np.inf
    values[where == 8] = -np.inf
    bits[where == 6] = np.iinfo(unsigned).max  # the NaN that a carry would make a zero of
    return from_numpy(values, dtype)


def from_numpy(values, dtype):
    return torch.from_numpy(values.view(f"i{values.itemsize}").copy()).view(dtype)


def to_numpy(t):
    _, kind = DTYPES[t.dtype]
    return t.contiguous().view(getattr(torch, f"int{t.itemsize * 8}")).numpy().view(kind).copy()


def updates(seed, dtypes, sizes=SIZES):
    rng = np.random.default_rng(seed)
    return [Update(*(tensor(rng, size, dtype) for dtype in dtypes)) for size in sizes]


def same_bits(a, b):
    """Equal, zeros with their signs, and any NaN like any other (L-010)."""
    assert a.dtype == b.dtype
    bits = a.view(f"u{a.itemsize}") == b.view(f"u{b.itemsize}")
    with np.errstate(invalid="ignore"):
        either = bits | (np.isnan(a) & np.isnan(b))
    np.testing.assert_array_equal(either, True)


def check(batch, scalars, rule, maximize, kernel=cpu.lion_updates_):
    """One step of the kernel on a batch, and of the reference on each update in it."""
    before = [[to_numpy(t) for t in update] for update in batch]
    kernel(batch, scalars, rule, maximize=maximize)
    for (x, g, m), update in zip(before, batch, strict=True):
        with np.errstate(over="ignore"):  # scalars that are too large for float32
            due = lion_update(x, -g if maximize else g, m, scalars, rule)
        same_bits(to_numpy(update.x), due[0])
        same_bits(to_numpy(update.g), g)
        same_bits(to_numpy(update.m), due[1])


def plain_updates_(batch, scalars, rule, *, maximize):
    """What ``lion_updates_`` does, in plain operations."""
    for x, g, m in batch:
        lion_update_(x, -g if maximize else g, m, scalars, rule)


def check_all_ways(dtypes, kernel=cpu.lion_updates_):
    for seed, way in enumerate(WAYS.values()):
        check(updates(seed, dtypes), *way, kernel)


def edited_kernel(right, wrong, folder, monkeypatch):
    """The module of the kernel, compiled anew from its sources with something replaced."""
    monkeypatch.syspath_prepend(folder)
    sources = [Path(m.__file__).read_text(encoding="utf-8") for m in (cpu_numbers, cpu_kernel)]
    assert right in "".join(sources)
    for file, source in zip(("edited_numbers", "edited"), sources, strict=True):
        source = source.replace(right, wrong).replace(cpu_numbers.__name__, "edited_numbers")
        (folder / f"{file}.py").write_text(source, encoding="utf-8")
        monkeypatch.delitem(sys.modules, file, raising=False)
    return importlib.import_module("edited")


def name(mixture):
    return "-".join(str(dtype).removeprefix("torch.") for dtype in mixture)


@pytest.mark.parametrize("dtypes", MIXTURES, ids=name)
def test_every_rule_has_the_bits_of_the_reference(dtypes):
    check_all_ways(dtypes)


@pytest.mark.slow
@pytest.mark.parametrize("dtypes", OTHERS, ids=name)
def test_every_rule_has_the_bits_of_the_reference_in_any_mixture(dtypes):
    check_all_ways(dtypes)


@st.composite
def problems(draw):
    """A few updates of any bits, with any scalars and rule."""
    dtypes = draw(st.sampled_from(MIXTURES))
    batch = updates(draw(st.integers(0, 2**32 - 1)), dtypes, draw(st.lists(st.integers(0, 40))))
    beta = st.floats(0, 1, exclude_max=True)
    number = st.one_of(st.just(0.0), st.floats(0, 2), st.floats(0, 1e300))
    peak = draw(st.one_of(st.none(), st.floats(1e-300, 1e300)))
    scalars = Scalars(draw(number), draw(beta), draw(beta), draw(number), peak)
    rule = Rule(
        draw(st.sampled_from(("sign", "clip"))),
        draw(st.floats(1e-3, 1e3)),
        draw(st.booleans()),
        draw(st.floats(1, 100)),
        draw(st.booleans()),
    )
    return batch, scalars, rule, draw(st.booleans())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(problems())
def test_any_bits_and_scalars_give_the_bits_of_the_reference(problem):
    check(*problem)


@pytest.mark.parametrize("dtype", [BF16, F16], ids=str)
@pytest.mark.parametrize("wide", [F32, F64], ids=str)
def test_rounding_to_16_bits_is_that_of_ieee_754(dtype, wide):
    """Every number of 16 bits, what is halfway to the next, and what is beside that."""
    every = np.arange(1 << 16, dtype=np.uint16)
    grid = to_numpy(from_numpy(every, dtype).to(wide))
    unsigned = DTYPES[wide][0]
    half = unsigned(1) << {F32: 0, F64: 29}[wide] + {BF16: 15, F16: 12}[dtype]
    middle = (grid.view(unsigned) + half).view(grid.dtype)
    with np.errstate(invalid="ignore"):
        below, above = (np.array(end, grid.dtype) for end in (-np.inf, np.inf))
        ways = [np.nextafter(t, end) for t in (grid, middle) for end in (t, below, above)]
    g = torch.from_numpy(np.concatenate(ways))
    x, m = torch.zeros_like(g, dtype=wide), torch.zeros_like(g, dtype=dtype)
    for kernel in (plain_updates_, cpu.lion_updates_):
        # With betas of 0, m' is g, rounded.
        check([Update(x, g, m.zero_())], Scalars(0.0, 0.0, 0.0, 0.0), Rule(), False, kernel)
    rounded = to_numpy(m)[: 1 << 16]
    same_bits(rounded, np.where(rounded == 0, 0, every.view(rounded.dtype)))  # 0*m + -0 is +0


def test_the_plain_operations_have_the_same_bits():
    for dtypes in (*MIXTURES, (F64, F32, F16)):
        check_all_ways(dtypes, plain_updates_)


def test_thousands_of_tensors_are_one_call():
    rng = np.random.default_rng(0)
    for way in ("lion", "all"):
        check(updates(1, (BF16, F32, F32), rng.integers(0, 40, 2000)), *WAYS[way])


def test_addresses_need_not_be_aligned_to_vectors():
    whole = updates(2, (F32, BF16, BF16), (100,))[0]
    check([Update(*(t[1:] for t in whole))], *WAYS["lion"])


@pytest.mark.parametrize("dtype", usually([F32, BF16], DTYPES), ids=str)
def test_the_machine_code(dtype, tmp_path, monkeypatch):
    kernel = edited_kernel("", "", tmp_path, monkeypatch)  # one from the cache cannot be looked at
    monkeypatch.setattr(lion_ports.torch, "cpu_kernel", kernel)
    check(updates(0, (dtype,) * 3), *WAYS["lion"])
    (short,) = kernel.update_short.inspect_asm().values()
    (whole,) = kernel.update_.inspect_asm().values()
    for assembly in (short, whole):
        assert re.search(r"mulp[sd]|fmul\s+v", assembly)  # many at a time
        assert not re.search(r"fn?m(add|sub)|fml[as]", assembly)  # L-007
    assert re.search(r"prefetch|prfm", whole)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("b1 * m_ + one_b1 * g_", "b2 * m_ + one_b2 * g_"),
        ("c - c", "one - one"),  # NaN
        ("c - c", "c"),  # the sign of a zero
        ("bits + _U32(0x7FFF)", "bits + _U32(0x8000)"),  # ties
        ("narrow(x_ - lr * u, x)", "narrow(x_ - lr * (u + wd * x_), x)"),
        ("if decays else u\n", "if decays else u + wd * x_\n"),  # L-009, L-023
        ("size < _U32(113 << 23)", "size < _U32(112 << 23)"),  # the least normal float16
        ("if value == value else _U32(0x7FC0)", "if True else _U32(0x7FC0)"),
        ("x[whole:], g[whole:]", "x[whole:], g[: x.size - whole]"),
        ("first += n", "first += n + (n == 7)"),
    ],
)
@pytest.mark.slow
def test_a_kernel_that_is_broken_is_found(right, wrong, tmp_path, monkeypatch):
    broken = edited_kernel(right, wrong, tmp_path, monkeypatch)
    monkeypatch.setattr(lion_ports.torch, "cpu_kernel", broken)
    with pytest.raises(AssertionError):
        [check_all_ways(dtypes) for dtypes in (*MIXTURES[:4], (BF16, F32, F32))]


def test_layouts_without_gaps_are_taken_and_others_left_to_plain_operations():
    image = torch.ones(2, 3, 4, 5)
    last = image.contiguous(memory_format=torch.channels_last)
    for x, g, taken in (
        (image, image, True),
        (last, last.clone(), True),
        (last, image, False),
        (image[..., ::2], image[..., ::2], False),
        (image, torch.ones(()).expand_as(image), False),
        (image.mT, image.mT, True),
        (torch.ones(0, 3), torch.ones(0, 3), True),
        (torch.ones(()), torch.ones(()), True),
    ):
        assert cpu.takes(x, g, torch.zeros_like(x), Rule()) is taken
    for rule in (Rule("tanh"), Rule("l2")):
        assert not cpu.takes(image, image, image, rule)
    assert not cpu.takes(image, torch.complex(image, image).conj().imag, image, Rule())


def test_a_layout_does_not_change_a_result(bits):
    def steps(layout):
        generator = torch.Generator().manual_seed(0)
        p = torch.nn.Parameter(layout(torch.randn(2, 3, 8, 8, generator=generator)))
        optimizer = Lion([p], lr=0.1, weight_decay=0.1)
        for _ in range(2):
            p.grad = layout(torch.randn(2, 3, 8, 8, generator=generator))
            optimizer.step()
        return p.detach().contiguous()

    def with_gaps(t):
        return torch.stack((t, t), -1)[..., 0]

    layouts = (with_gaps, lambda t: t.contiguous(memory_format=torch.channels_last))
    assert all(bits(steps(layout)) == bits(steps(torch.clone)) for layout in layouts)


def test_autograd_sees_that_a_parameter_has_changed(parameter):
    p = parameter(1.0, 2.0)
    squared = p.square().sum()  # needs p as it was
    Lion([p]).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        squared.backward()
