"""Small state: a momentum of 8 bits (L-031) and corrections of bfloat16 (L-032)."""

import numpy as np
import pytest
from small_state import LR, stream

from lion_ports import LionConfig, reference

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports.torch import (  # noqa: E402
    Lion,
    cpu_small,
    release_gradients,
    step,
    storage,
)
from lion_ports.torch.state import from_numpy  # noqa: E402

KEPT = {"exp_avg": "momentum", "exp_avg_scale": "momentum_scale"}
KEPT |= {"correction": "correction", "average": "average"}
INT8 = {"momentum_dtype": "int8"}
AVERAGED = {"ema_decay": 0.75, "ema_overwrite_every": 3}


def parameters(arrays):
    """One of four dimensions is laid out by channels."""
    made = {n: from_numpy(x) for n, x in arrays.items()}
    return {
        n: torch.nn.Parameter(x.to(memory_format=torch.channels_last) if x.ndim == 4 else x)
        for n, x in made.items()
    }


def give(params, grads):
    for n, p in params.items():
        p.grad = None if grads[n] is None else from_numpy(grads[n])


def check(params, optimizer, arrays, state, bits):
    """Every bit that there is, NaN like any other NaN (L-010)."""
    for n, p in params.items():
        assert_same(p, arrays[n], bits)
        for slot, field in KEPT.items():
            kept = getattr(state, field)
            assert (slot in optimizer.state[p]) == (n in kept and optimizer.state[p] != {})
            if slot in optimizer.state[p]:
                assert_same(optimizer.state[p][slot], kept[n], bits)


def assert_same(t, array, bits):
    both = (t.detach(), from_numpy(array))
    t, due = (a.clone(memory_format=torch.contiguous_format) for a in both)
    if t.is_floating_point():
        t, due = (torch.where(a.isnan(), torch.nan, a) for a in (t, due))
    assert bits(t) == bits(due)


RUNS = [
    ("float32", INT8),
    ("float16", INT8),
    ("float64", INT8),
    ("bfloat16", INT8),
    ("bfloat16", {"correction_bits": 8}),
    ("bfloat16", {"correction_bits": 16, **AVERAGED}),
    ("bfloat16", INT8 | {"correction_bits": 8, "cautious": True, **AVERAGED}),
    ("bfloat16", INT8 | {"correction_bits": 16, "maximize": True, "clipvalue": 0.5}),
    ("bfloat16", INT8 | {"correction_bits": 16, "nonfinite": "skip"}),
    ("bfloat16", INT8 | {"correction_bits": 8, "gradient_accumulation_steps": 2}),
]


@pytest.fixture
def plain(monkeypatch):
    """As without Numba."""
    monkeypatch.setattr(cpu_small, "takes", lambda *update: False)


def run(dtype, options, bits, made=lambda optimizer: optimizer.step, steps=12):
    arrays, grads = stream(dtype, steps, subnormal=True)
    settings = {"lr": LR, "weight_decay": 0.1, **options}
    config, params = LionConfig(**settings), parameters(arrays)
    state, optimizer = reference.init(arrays, config), Lion(params.items(), **settings)
    update = made(optimizer)
    for g in grads:
        give(params, g)
        update()
        with np.errstate(all="ignore"):
            arrays, state = reference.step(arrays, g, state, config)
        check(params, optimizer, arrays, state, bits)
    assert (int(optimizer.param_groups[0]["count"]), optimizer.skipped) == (
        state.count,
        state.skipped,
    )


@pytest.mark.parametrize(("dtype", "options"), RUNS, ids=str)
def test_equals_the_reference(dtype, options, bits):
    run(dtype, options, bits)


@pytest.mark.parametrize(("dtype", "options"), RUNS[::2], ids=str)
def test_plain_operations_equal_the_reference(dtype, options, bits, plain):
    run(dtype, options, bits)


def test_compiled_steps_equal_the_reference_and_compile_once(bits):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    options = INT8 | {"correction_bits": 8, "ema_decay": 0.75}
    run("bfloat16", options, bits, lambda optimizer: torch.compile(optimizer.step, backend=backend))
    # Once more for the steps in which one has no gradient.
    assert len(graphs) == 2


@pytest.mark.parametrize("correction_bits", [8, pytest.param(16, marks=pytest.mark.slow)])
def test_inductor_keeps_the_bits(correction_bits, bits):
    """Of whole blocks and of others; ``test_compile.py`` has what compiles anew."""
    runs = []
    for compiles in (True, False):
        generator = torch.Generator().manual_seed(1)
        draw = [torch.randn(n, generator=generator).bfloat16() for n in (128, 300)]
        params = [torch.nn.Parameter(x.clone()) for x in draw]
        optimizer = Lion(params, LR, correction_bits=correction_bits, ema_decay=0.75, **INT8)
        torch.compiler.reset()
        update = torch.compile(optimizer.step) if compiles else optimizer.step
        for _ in range(3):
            for p in params:
                p.grad = torch.randn(p.shape, generator=generator).bfloat16()
            update()
        runs.append(bits([params, optimizer.state_dict()["state"]]))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("correction_bits", [8, 16])
def test_slices_are_rounded_as_the_whole(correction_bits, bits, plain, monkeypatch):
    runs = []
    for size in (1 << 18, 1 << 14):
        monkeypatch.setattr(step, "_SLICE", size)
        p = torch.nn.Parameter(torch.linspace(-1, 1, 50_001).bfloat16())
        optimizer = Lion([p], LR, correction_bits=correction_bits, **INT8)
        for k in range(3):
            p.grad = torch.linspace(-1, 2 + k, 50_001).bfloat16()
            optimizer.step()
        runs.append(bits([p, optimizer.state[p]]))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("way", ["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def test_any_bits(way, bits):
    """Of a float32: what is loaded and stored is what the reference loads and stores."""
    torch.compiler.reset()
    compiled = torch.compile if way == "compiled" else lambda function: function
    encode, split = compiled(storage.encode), compiled(storage.split)
    rng = np.random.Generator(np.random.Philox(13))
    for size in (300, 1280):
        x = rng.integers(0, 2**32, size, np.uint32).view(np.float32)
        x[::7] = np.finfo(np.float32).max
        x[256:] = np.float32(2.0**-140) * rng.integers(-9, 9, size - 256)
        for count in (0, 1, 2**31 + 5):
            made = encode(torch.from_numpy(x), torch.tensor(count))
            due = reference.storage.encode(x, count)
            assert bits(made) == bits([from_numpy(a) for a in due])
            decoded = compiled(storage.decode)(*made)
            assert bits(decoded) == bits(from_numpy(reference.storage.decode(*due)))
            for correction_bits in (8, 16):
                made = split(torch.from_numpy(x), correction_bits, torch.tensor(count))
                due = reference.storage.split(x, correction_bits, count)
                assert bits(made) == bits([from_numpy(a) for a in due])
                joined = compiled(storage.join)(*made)
                assert bits(joined) == bits(from_numpy(reference.storage.join(*due)))


@pytest.mark.parametrize("size", [130, (1 << 24) + 130])
def test_a_device_is_not_waited_for(size):
    """As of ``meta``, which never has a value; a large parameter is updated in slices."""
    p = torch.nn.Parameter(torch.ones(size, dtype=torch.bfloat16, device="meta"))
    p.grad = torch.ones_like(p)
    optimizer = Lion([p], correction_bits=8, ema_decay=0.5, **INT8)
    optimizer.step()
    assert optimizer.state[p]["exp_avg_scale"].shape == (storage.scale_count(size),)


def test_elements_far_from_the_first():
    """Their places are counted in 32 bits without a sign."""
    count, start = torch.tensor(2**31 + 7), 2**32 - 128
    found = storage.dither(count, 256, start, torch.device("cpu"))
    places = (np.arange(256, dtype=np.uint64) + np.uint64(start)).astype(np.uint32)
    due = reference_dither(int(count), places)
    np.testing.assert_array_equal(found.numpy().view(np.uint32), due)


def reference_dither(count, places):
    with np.errstate(over="ignore"):
        h = places * np.uint32(0x9E3779B1) + np.uint32(count * 0x85EBCA77 & 0xFFFFFFFF)
        h = (h ^ (h >> 15)) * np.uint32(0x2C1B3C6D)
        h = (h ^ (h >> 12)) * np.uint32(0x297A2D39)
    return h ^ (h >> 15)


def test_complex_momenta_stay_complex():
    z = torch.nn.Parameter(torch.ones(3, dtype=torch.complex64))
    z.grad = torch.ones_like(z)
    optimizer = Lion([z], LR, correction_bits=8, **INT8)
    optimizer.step()
    assert {n: t.dtype for n, t in optimizer.state[z].items()} == {"exp_avg": torch.complex64}


def test_groups_differ():
    small, plain = (torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16)) for _ in range(2))
    optimizer = Lion(
        [{"params": [small], "correction_bits": 8, **INT8}, {"params": [plain]}], lr=LR
    )
    for p in (small, plain):
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert set(optimizer.state[small]) == {"exp_avg", "exp_avg_scale", "correction"}
    assert set(optimizer.state[plain]) == {"exp_avg"}


@pytest.mark.parametrize("correction_bits", [8, 16])
def test_what_is_left_alone_keeps_every_bit(correction_bits, bits, parameter):
    """Codes that are read and written again would be rounded again (L-003, L-019)."""
    a, b = (parameter(*[0.1] * 130, dtype=torch.bfloat16) for _ in range(2))
    optimizer = Lion([a, b], LR, correction_bits=correction_bits, nonfinite="skip", **INT8)
    optimizer.step()
    before = bits([a, b, optimizer.state[a], optimizer.state[b]])
    b.grad[0] = torch.inf
    optimizer.step()
    assert optimizer.skipped == 1
    assert bits([a, b, optimizer.state[a], optimizer.state[b]]) == before
    b.grad = None
    optimizer.step()
    assert bits([b, optimizer.state[b]]) == before[1::2]
    assert bits(a) != before[0]


def test_a_correction_keeps_steps_that_bfloat16_loses(parameter):
    still, moved = (parameter(1, 1, 1, dtype=torch.bfloat16) for _ in range(2))
    plain, corrected = Lion([still], 2.0**-12), Lion([moved], 2.0**-12, correction_bits=16)
    for _ in range(32):
        plain.step()
        corrected.step()
    assert still.tolist() == [1] * 3
    assert moved.tolist() == [1 - 32 * 2.0**-12] * 3


def test_averages_follow_the_whole_parameter(parameter):
    p = parameter(1, 1, dtype=torch.bfloat16)
    optimizer = Lion([p], 2.0**-12, correction_bits=16, ema_decay=0.5)
    optimizer.step()
    assert optimizer.state[p]["average"].tolist() == [1 - 2.0**-13] * 2
    with optimizer.averaged():
        assert p.tolist() == [1, 1]


def test_an_average_that_begins_late_begins_at_the_whole_parameter(parameter):
    p = parameter(1, 1, dtype=torch.bfloat16)
    optimizer = Lion([p], 2.0**-12, correction_bits=16)
    optimizer.step()
    optimizer.param_groups[0] |= {"ema_decay": 0.5, "lr": 0.0}
    optimizer.step()
    assert optimizer.state[p]["average"].tolist() == [1 - 2.0**-12] * 2


def test_released_gradients_make_the_same_steps(bits):
    runs = []
    for released in (True, False):
        p = torch.nn.Parameter(torch.ones(130, dtype=torch.bfloat16))
        optimizer = Lion([p], LR, correction_bits=8, **INT8)
        if released:
            release_gradients(optimizer)
        for k in range(3):
            (p * torch.linspace(-k, 1, 130).bfloat16()).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        runs.append(bits([p, optimizer.state[p]]))
    assert runs[0] == runs[1]
