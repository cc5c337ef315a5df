"""Options of many parameters on the CPU, in one pass, beside the plain operations."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("numba", reason="needs numba, which is not installed")

from lion_ports import StateError  # noqa: E402
from lion_ports.torch import Lion, cpu, cpu_small, cpu_sums  # noqa: E402
from lion_ports.torch.gradients import squared_norms_of  # noqa: E402

F32, F64, BF16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16
AVERAGES = {"ema_decay": 0.75}
INT8 = {"momentum_dtype": "int8"}
ALL_RULES = {"nonlinearity": "clip", "steepness": 3.0, "cautious": True, "cautious_decay": True}
OPTIONS = {
    "value": {"clipvalue": 0.3},
    "norm": {"clipnorm": 1.5},
    "norm of all": {"global_clipnorm": 2.5},
    "loss scale": {"loss_scale": 7.0},
    "average": AVERAGES,
    "average that overwrites": AVERAGES | {"ema_overwrite_every": 2},
    "scaled norm, averaged, all rules": ALL_RULES | AVERAGES | {"clipnorm": 0.5, "loss_scale": 4.0},
    "scaled value, ascent": {"clipvalue": 0.1, "loss_scale": 0.3, "maximize": True},
    "int8 of a scaled value": INT8 | {"clipvalue": 0.1, "loss_scale": 0.3},
    "int8 of a norm": INT8 | {"clipnorm": 1.5},
    "int8 of a norm, all rules": INT8 | ALL_RULES | {"clipnorm": 1.5},
    "int8, averaged": INT8 | AVERAGES,
    "int8, an average that overwrites": INT8 | AVERAGES | {"ema_overwrite_every": 2},
}
# Of parameters, gradients and momenta; each is compiled anew with each of the options.
MIXTURES = [(F32, F32, None), (BF16, F32, "float32"), (BF16, BF16, None), (F64, F32, "bfloat16")]
SIZES = [(0,), (1,), (7,), (3, 43), (), (5000,), (40_001,)]


def mixed(names):
    """Each option with every mixture, all but the first or the second of them slow."""
    return [
        pytest.param(
            name,
            dtypes,
            id=f"{name}-{dtypes}",
            marks=[] if j == i % 2 else [pytest.mark.slow],
        )
        for i, name in enumerate(names)
        for j, dtypes in enumerate(MIXTURES)
    ]


def exact(size, dtype, generator):
    """Small multiples of 1/4, whose squares any order of addition sums without rounding."""
    return (torch.randint(-6, 7, size, generator=generator) / 4).to(dtype)


def special(size, dtype, generator):
    """Normal numbers, zeros of both signs, infinities and NaN."""
    values = torch.randn(size, generator=generator, dtype=F64).to(dtype)
    for i, value in enumerate((0.0, -0.0, torch.inf, -torch.inf, torch.nan)):
        values.view(-1)[i::17] = value
    return values


def trained(options, dtypes, gradient, steps=3, all_have_one=False):
    """Parameters and states after some steps, in each of which a parameter has no gradient."""
    dtype, grad_dtype, momentum_dtype = dtypes
    generator = torch.Generator().manual_seed(1)
    params = [
        torch.nn.Parameter(torch.randn(size, generator=generator).to(dtype)) for size in SIZES
    ]
    optimizer = Lion(params, 0.01, weight_decay=0.1, **{"momentum_dtype": momentum_dtype} | options)
    for step in range(steps):
        for i, p in enumerate(params):
            p.grad_dtype = None
            left_out = i == step and not all_have_one
            p.grad = None if left_out else gradient(p.shape, grad_dtype, generator)
        optimizer.step()
    return [(p.detach(), dict(optimizer.state[p])) for p in params]


@pytest.fixture
def plain(monkeypatch):
    """``trained`` in plain operations."""

    def train(*args):
        with monkeypatch.context() as patched:
            for kernel in (cpu, cpu_small):
                patched.setattr(kernel, "takes", lambda *_: False)
            return trained(*args)

    return train


@pytest.fixture
def made(monkeypatch):
    """How many parameters the kernels were given in columns, call by call."""
    calls = []

    def noted(lion_columns_):
        def note(xs, *args, **kwargs):
            calls.append(len(xs))
            lion_columns_(xs, *args, **kwargs)

        return note

    for kernel in (cpu, cpu_small):
        monkeypatch.setattr(kernel, "lion_columns_", noted(kernel.lion_columns_))
    return calls


def alike(value):
    """Any NaN like any other (L-010)."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return torch.where(value.isnan(), torch.nan, value)
    if isinstance(value, dict):
        return {key: alike(one) for key, one in value.items()}
    return [alike(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(("name", "dtypes"), mixed(OPTIONS))
def test_an_option_has_the_bits_of_the_plain_operations(name, dtypes, plain, made, bits):
    options = OPTIONS[name]
    gradients = [exact] if "norm" in str(options) else [exact, special]
    for gradient in gradients:
        made.clear()
        expected = bits(alike(plain(options, dtypes, gradient)))
        assert made == []
        assert bits(alike(trained(options, dtypes, gradient))) == expected
        assert made == [len(SIZES) - 1] * 3


@pytest.mark.parametrize(
    ("name", "dtypes"), mixed(["value", "norm", "norm of all", "average", "int8 of a norm"])
)
@pytest.mark.parametrize("scale", [{}, {"loss_scale": 4.0}], ids=str)
def test_a_mean_has_the_bits_of_the_plain_operations(name, scale, dtypes, plain, made, bits):
    options = OPTIONS[name] | scale | {"gradient_accumulation_steps": 2}
    expected = bits(plain(options, dtypes, exact, 5, True))
    assert made == []
    assert bits(trained(options, dtypes, exact, 5, True)) == expected
    assert made == [len(SIZES)] * 2


def test_a_gradient_in_float64_is_rounded_before_it_is_added():
    """Half a last place, and not a little more: what is added to 1 then leaves it 1 (L-005)."""
    params = [torch.nn.Parameter(torch.zeros(3)) for _ in range(2)]
    optimizer = Lion(params, gradient_accumulation_steps=3)
    for value in (1.0, 2**-24 + 2**-50):
        for p in params:
            p.grad_dtype = None
            p.grad = torch.full((3,), value, dtype=F64)
        optimizer.step()
    assert [optimizer.state[p]["grad_sum"].tolist() for p in params] == [[1.0] * 3] * 2


def test_a_norm_of_all_is_that_of_parameters_of_any_kind(made):
    """Of columns of two dtypes, and of a complex and a transposed parameter beside them."""
    params = [
        torch.nn.Parameter(torch.zeros(shape, dtype=dtype))
        for shape, dtype in (((2, 3), F32), ((4,), BF16), ((1,), torch.complex64), ((5, 2), F32))
    ]
    params[3].data = params[3].data.mT
    optimizer = Lion(params, lr=1.0, betas=(0.0, 0.0), global_clipnorm=3.0)
    for p, value in zip(params, (2.0, 1.0, 3 + 4j, 0.5), strict=True):
        p.grad = torch.full_like(p, value)
    params[3].grad = torch.full((5, 2), 0.5).mT
    optimizer.step()
    factor = 3 / (6 * 4 + 4 * 1 + 25 + 10 * 0.25) ** 0.5
    for p, value in zip(params, (2.0, 1.0, 3 + 4j, 0.5), strict=True):
        momentum = optimizer.state[p]["exp_avg"]
        torch.testing.assert_close(momentum, torch.full_like(p, value * factor), rtol=4e-3, atol=0)
    assert made[:2] == [1, 1]


@pytest.mark.parametrize("dtype", [F32, F64, BF16, F16], ids=str)
def test_a_sum_of_squares_does_not_depend_on_threads(dtype):
    generator = torch.Generator().manual_seed(2)
    sizes = (0, 1, 63, 64, 65, 1 << 14, (1 << 14) + 1, 3_000_000, 0)
    gs = [torch.randn(size, generator=generator).to(dtype) for size in sizes]
    wide, before = torch.promote_types(dtype, F32), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            found.append(cpu_sums.squared_norms(gs, 0.5, wide).tobytes())
    finally:
        torch.set_num_threads(before)
    assert found == found[:1] * 4
    due = torch.stack([(g.double() * 0.5).square().sum() for g in gs]).to(wide)
    torch.testing.assert_close(torch.from_numpy(cpu_sums.squared_norms(gs, 0.5, wide)), due)


@pytest.mark.parametrize("dtype", [F32, F64, BF16, F16], ids=str)
def test_a_sum_of_squares_on_a_gpu_is_exact_where_it_can_be(dtype):
    """By what computes it there, of tensors of the CPU; 5 is no square."""
    gs = [torch.tensor(values, dtype=dtype) for values in ([1.0, 2.0], [], [0.5] * 3)]
    for unscale in (None, 4.0, torch.tensor(4.0, dtype=F64)):
        factor = 1 if unscale is None else 16
        found = squared_norms_of(gs, unscale, torch.promote_types(dtype, F32))
        assert found.tolist() == [5.0 * factor, 0.0, 0.75 * factor]
    assert squared_norms_of([torch.tensor([2e19])], None, F32).item() == torch.inf


def test_a_square_that_is_too_large_or_small_is_so_in_the_compute_dtype():
    gs = [torch.tensor([1e20, 1.0]), torch.tensor([1e-30] * 100), torch.tensor([1e19] * 3)]
    found = cpu_sums.squared_norms(gs, None, F32)
    assert found.tolist() == [torch.inf, 0.0, torch.tensor([3e38]).item()]


@pytest.mark.parametrize(
    ("options", "gradient", "due"),
    [
        ({"cautious": True, "cautious_cap": 1e300}, 1.0, -0.25),
        ({"loss_scale": 1e-50, "clipnorm": 1.0}, 1.0, torch.nan),  # infinity by nothing
        ({"clipnorm": 1e-50}, 0.0, torch.nan),  # nothing by nothing
    ],
    ids=str,
)
def test_a_number_that_float32_does_not_hold_is_rounded_without_a_warning(options, gradient, due):
    p = torch.nn.Parameter(torch.tensor([0.0]))
    optimizer = Lion([p], lr=0.5, **options)
    p.grad = torch.tensor([gradient])
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([due]), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("option", ["clipvalue", "clipnorm", "global_clipnorm"])
def test_a_bound_that_float32_does_not_hold_bounds_nothing(option, plain, bits):
    for bound in (1e300, 3e38):
        case = {option: bound}, MIXTURES[0], exact
        assert bits(trained(*case)) == bits(plain(*case)) == bits(trained({}, *case[1:]))


@pytest.mark.parametrize(
    ("options", "slot"),
    [
        (AVERAGES, "average"),
        (INT8, "exp_avg_scale"),
        ({"correction_bits": 8}, "correction"),
        ({"gradient_accumulation_steps": 2}, "grad_sum"),
    ],
)
def test_a_state_of_another_shape_is_refused_before_anything_moves(options, slot, bits):
    params = [torch.nn.Parameter(torch.ones(300, dtype=BF16)) for _ in range(2)]
    optimizer = Lion(params, **options)
    for p in params:
        p.grad = torch.ones(300, dtype=BF16)
    optimizer.step()
    optimizer.state[params[1]][slot] = optimizer.state[params[1]][slot][:1].repeat(4)
    before = bits([(p, optimizer.state[p]) for p in params])
    with pytest.raises(StateError, match=r"shape \(300,\), and its .* \(4,\): one of them"):
        optimizer.step()
    assert bits([(p, optimizer.state[p]) for p in params]) == before
