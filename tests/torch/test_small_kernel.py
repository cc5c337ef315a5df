"""The kernel for small state on CPUs beside the plain operations, which are the definition."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("numba", reason="needs numba, which is not installed")

from lion_ports.torch import Lion, cpu_small  # noqa: E402

F32, F64, BF16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
INT8, CLIP = {"momentum_dtype": "int8"}, {"nonlinearity": "clip", "steepness": 3.0}
# Parameter, gradient, options.
MIXTURES = [
    (F32, F32, INT8 | {"betas": (0.9, 0.0)}),  # all that a gradient may be
    (F32, BF16, INT8 | CLIP | {"cautious_decay": True, "weight_decay": 0.1}),
    (F64, F64, INT8),
    (F16, F32, INT8 | {"decay": "independent", "lr_peak": 0.5, "weight_decay": 0.1}),
    (BF16, BF16, INT8 | {"correction_bits": 8, "weight_decay": 0.1}),
    (BF16, F32, INT8 | {"correction_bits": 16, "maximize": True}),
    (BF16, BF16, {"correction_bits": 16}),
    (BF16, F16, {"correction_bits": 8, "momentum_dtype": "float32"} | CLIP),
    (BF16, BF16, {"correction_bits": 8, "ema_decay": 0.75, "ema_overwrite_every": 2}),
    (BF16, BF16, INT8 | {"correction_bits": 16, "ema_decay": 0.75}),
    (F32, F32, INT8 | CLIP | {"cautious": True, "cautious_cap": 1.5, "weight_decay": 0.1}),
    (BF16, F32, INT8 | {"correction_bits": 8, "cautious": True, "maximize": True}),
    (BF16, BF16, {"correction_bits": 16, "cautious": True, "cautious_decay": True}),
]


def any_bits(size, dtype, generator):
    """Normal numbers, and a quarter of any bits at all: NaN, infinities, subnormal numbers."""
    integers = BITS[dtype.itemsize]
    least, most = torch.iinfo(integers).min, torch.iinfo(integers).max
    drawn = torch.randint(least, most, (size,), generator=generator, dtype=integers)
    normal = torch.randn(size, generator=generator).to(dtype)
    normal[1::9], normal[2::170] = 0, torch.finfo(dtype).max
    return torch.where(torch.rand(size, generator=generator) < 0.25, drawn.view(dtype), normal)


def trained(dtype, grad_dtype, options, sizes, steps=3):
    generator = torch.Generator().manual_seed(5)
    params = [torch.nn.Parameter(any_bits(n, dtype, generator)) for n in sizes]
    optimizer = Lion(params, lr=0.01, **options)
    for _ in range(steps):
        for p in params:
            p.grad_dtype = None
            p.grad = any_bits(p.numel(), grad_dtype, generator)
        optimizer.step()
    return params, [optimizer.state[p] for p in params]


@pytest.fixture
def plain(monkeypatch):
    """Train in plain operations."""

    def train(*args):
        with monkeypatch.context() as patched:
            patched.setattr(cpu_small, "takes", lambda *update: False)
            return trained(*args)

    return train


@pytest.fixture
def taken(monkeypatch):
    """Updates that the kernel made."""
    made, lion_columns_ = [], cpu_small.lion_columns_

    def noted(xs, *args, **kwargs):
        made.extend(xs)
        lion_columns_(xs, *args, **kwargs)

    monkeypatch.setattr(cpu_small, "lion_columns_", noted)
    return made


def alike(value):
    """Any NaN like any other (L-010)."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return torch.where(value.isnan(), torch.nan, value)
    if isinstance(value, dict):
        return {key: alike(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [alike(one) for one in value]
    return value


@pytest.mark.parametrize(("dtype", "grad_dtype", "options"), MIXTURES, ids=str)
def test_plain_operations_have_the_same_bits(dtype, grad_dtype, options, plain, taken, bits):
    case = (dtype, grad_dtype, options, (0, 1, 127, 128, 129, 0, 5003))
    assert bits(alike(trained(*case))) == bits(alike(plain(*case)))
    assert len(taken) == 3 * 7


def test_threads_have_the_same_bits(plain, taken, bits):
    """Blocks are dealt out to them whole, through all tensors."""
    case = (BF16, BF16, INT8 | {"correction_bits": 8}, (100_001, 77, 200_003), 2)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert bits(alike(trained(*case))) == bits(alike(plain(*case)))
    finally:
        torch.set_num_threads(before)
    assert len(taken) == 2 * 3


def test_autograd_sees_that_they_have_changed(parameter):
    p = parameter(*[1.0] * 130)
    optimizer = Lion([p], **INT8)
    loss = (p * p).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("options", [{"nonlinearity": "tanh"}, {"nonlinearity": "l2"}], ids=str)
def test_other_directions_are_left_to_plain_operations(options, taken):
    trained(F32, F32, INT8 | options, (300,), 1)
    assert taken == []
