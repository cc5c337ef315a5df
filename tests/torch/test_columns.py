"""Groups of many small parameters, which are looked at and updated in columns."""

import sys

import ml_dtypes
import numpy as np
import pytest

from lion_ports import ConfigError, DtypeError, StateError
from lion_ports.config import Scalars
from lion_ports.reference import lion_update

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("numba", reason="needs numba, which is not installed")

from lion_ports.torch import Lion, column, cpu, cpu_small  # noqa: E402

F32, F64, BF16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16
SETTINGS = {"lr": 0.01, "weight_decay": 0.1}
SCALARS = Scalars(lr=0.01, b1=0.9, b2=0.99, wd=0.1)
SHAPE = (2, 3, 4, 5)


def array(t):
    """A copy in NumPy, in row-major order."""
    t = t.detach().resolve_neg().contiguous()
    if t.dtype == BF16:
        return t.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return t.numpy().copy()


def negative(t):
    """The same numbers, but for a sign that is not in memory."""
    return torch._neg_view(-t)


def with_gaps(t):
    return torch.stack((t, t), -1)[..., 0]


def channels_last(t):
    return t.contiguous(memory_format=torch.channels_last)


class Own(torch.Tensor):
    """A class whose tensors might have no memory of their own."""


def given(t):
    return t


# Dtypes and layouts of a parameter and of its gradient, and the dtype of the momentum.
KINDS = {
    "plain": (F32, given, given, F32),
    "float64": (F64, given, given, F64),
    "bfloat16": (BF16, given, given, BF16),
    "float16": (F16, given, given, F16),
    "momentum of bfloat16": (F32, given, given, BF16),
    "momentum of float32": (BF16, given, given, F32),
    "channels last": (F32, channels_last, channels_last, F32),
    "gradient of channels last": (F32, given, channels_last, F32),
    "gradient of gaps to channels last": (F32, channels_last, with_gaps, F32),
    "parameter with gaps": (F32, with_gaps, given, F32),
    "gradient with gaps": (BF16, given, with_gaps, BF16),
    "expanded gradient": (F32, given, lambda t: t[:1].expand(SHAPE), F32),
    "negative parameter": (F32, negative, given, F32),
    "negative gradient": (F32, given, negative, F32),
    "gradient of a class of its own": (F32, given, lambda t: t.as_subclass(Own), F32),
    "gradient that is a parameter": (F32, given, torch.nn.Parameter, F32),
}


class Group:
    """A group with parameters of these kinds among plain ones, and what is due of each."""

    def __init__(self, kinds, seed=0):
        self.generator = torch.Generator().manual_seed(seed)
        self.kinds = [KINDS[kind] for kind in kinds]
        self.params = []
        for dtype, layout, _, _ in self.kinds:
            self.params.append(torch.nn.Parameter(layout(self.normal(dtype))))
        self.optimizer = Lion(self.params, **SETTINGS)
        for p, (*_, dtype) in zip(self.params, self.kinds, strict=True):
            self.optimizer.state[p]["exp_avg"] = torch.zeros_like(p, dtype=dtype)
        self.due = [(array(p), np.zeros(SHAPE, array(m).dtype)) for p, m in self.rows()]

    def normal(self, dtype):
        return torch.randn(SHAPE, generator=self.generator).to(dtype)

    def rows(self):
        return [(p, self.optimizer.state[p]["exp_avg"]) for p in self.params]

    def step(self, left_out=()):
        """One step, in which some parameters have no gradient; and one of the reference."""
        for i, (p, (dtype, _, layout, _)) in enumerate(zip(self.params, self.kinds, strict=True)):
            p.grad = None if i in left_out else layout(self.normal(dtype))
            if p.grad is not None:
                x, m = self.due[i]
                self.due[i] = lion_update(x, array(p.grad), m, SCALARS)
        self.optimizer.step()

    def check(self):
        for (p, m), (x_due, m_due) in zip(self.rows(), self.due, strict=True):
            for found, due in ((array(p), x_due), (array(m), m_due)):
                assert found.dtype == due.dtype
                assert found.tobytes() == due.tobytes()


@pytest.fixture(autouse=True, params=[1, 1 << 30], ids=["by DLPack", "by Python"])
def facts(request, monkeypatch):
    """How facts of tensors are found out, however few they are."""
    monkeypatch.setattr(column, "_MANY", request.param)


@pytest.fixture
def made(monkeypatch):
    """How many updates the kernel was asked for in columns, call by call."""
    calls = []

    def lion_columns_(xs, *args, make=cpu.lion_columns_, **kwargs):
        calls.append(len(xs))
        make(xs, *args, **kwargs)

    monkeypatch.setattr(cpu, "lion_columns_", lion_columns_)
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_another_kind_among_plain_ones(kind, made):
    group = Group(["plain"] * 3 + [kind] + ["plain"] * 3)
    for _ in range(3):
        group.step()
        group.check()
    assert max(made) == (7 if kind in ("plain", "gradient that is a parameter") else 6)


def test_many_kinds_in_one_group(made):
    group = Group([*KINDS] * 20)
    for _ in range(3):
        made.clear()
        group.step()
        group.check()
    in_columns = {"plain", "float64", "bfloat16", "float16"} | {n for n in KINDS if "momentum" in n}
    assert made[: len(in_columns)] == [20] * len(in_columns)


def test_gradients_that_come_and_go(made):
    group = Group(["plain"] * 5 + ["bfloat16"] * 3)
    for left_out in ((), (2,), (0, 2, 7), range(8), (1, 3, 4, 5, 6, 7), ()):
        group.step(left_out)
        group.check()
    assert made == [5, 3, 4, 3, 3, 2, 2, 5, 3]


def test_states_in_another_order_than_their_parameters_are_found():
    group = Group(["plain"] * 4)
    group.step()
    state = group.optimizer.state
    for i in (2, 0):
        state[group.params[i]] = state.pop(group.params[i])
        group.step()
        group.check()


def test_a_sparse_gradient_among_others_is_refused_before_anything_is_written(bits):
    params = [torch.nn.Parameter(torch.ones(2, 3)) for _ in range(9)]
    optimizer = Lion([{"params": params[:4]}, {"params": params[4:]}])
    for p in params:
        p.grad = torch.ones(2, 3)
    params[6].grad = torch.ones(2, 3).to_sparse()
    with pytest.raises(DtypeError, match="parameter 2 of group 1 is sparse"):
        optimizer.step()
    assert bits(params) == bits([torch.ones(2, 3)] * 9)
    assert not optimizer.state
    assert optimizer.param_groups[0]["count"] == 0


def test_a_state_that_is_replaced_is_used(made):
    group = Group(["plain"] * 4)
    group.step()
    for i, dtype in ((1, F32), (2, BF16)):
        m = torch.full(SHAPE, 0.5, dtype=dtype)
        group.optimizer.state[group.params[i]] = {"exp_avg": m}
        group.due[i] = group.due[i][0], array(m)
    group.step()
    group.check()
    assert sorted(made) == [1, 3, 4]


def test_a_state_with_more_than_a_momentum_or_without_one_is_updated_as_well():
    """As with a state of another Lion, which counts steps."""
    group = Group(["plain"] * 4)
    group.optimizer.state[group.params[2]]["step"] = 3
    group.optimizer.state[group.params[3]] = {"step": 3}
    group.step()
    group.check()


def test_autograd_sees_that_all_of_them_have_changed():
    group = Group(["plain"] * 3)
    group.step()
    before = [t._version for row in group.rows() for t in row]
    group.step()
    assert [t._version for row in group.rows() for t in row] == [n + 1 for n in before]


def test_python_does_little_for_each_parameter():
    """A line or two of it; in rows it would be fifty calls."""

    def calls(number):
        group, count = Group(["plain"] * number), 0
        group.step()

        def seen(frame, event, argument):
            nonlocal count
            count += event == "call"

        sys.setprofile(seen)
        try:
            group.optimizer.step()
        finally:
            sys.setprofile(None)
        return count

    assert calls(1010) - calls(10) <= 3 * 1000


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("shape", [(5, 3), (3, 4), (1, 5), (1000,)])
def test_what_was_replaced_by_another_shape_is_refused_before_anything_moves(place, shape):
    params = [torch.nn.Parameter(torch.ones(3, 5)) for _ in range(3)]
    optimizer = Lion(params, lr=0.5)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    params[place].data = torch.ones(shape)
    before = [p.detach().clone() for p in params]
    with pytest.raises(ConfigError, match=rf"parameter {place} of group 0 has shape \(3, 5\)"):
        optimizer.step()
    params[place].grad = torch.ones(shape)
    with pytest.raises(StateError, match=r"its momentum \(3, 5\)"):
        optimizer.step()
    assert all(map(torch.equal, params, before))
    del optimizer.state[params[place]]
    optimizer.step()
    assert not torch.equal(params[place], before[place])


def test_a_dynamic_loss_scale_does_not_count_a_step_that_is_refused(bits):
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = Lion(params, loss_scale="dynamic", loss_scale_growth_interval=2)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    optimizer.state[params[1]]["exp_avg"] = torch.ones(5)
    before = bits(optimizer.state_dict())
    with pytest.raises(StateError, match=r"its momentum \(5,\)"):
        optimizer.step()
    assert bits(optimizer.state_dict()) == before


@pytest.mark.parametrize(
    "option",
    [{}, {"clipnorm": 0.5}, {"global_clipnorm": 0.5}, {"ema_decay": 0.5}, {"loss_scale": 4.0}],
    ids=str,
)
def test_some_have_a_correction_and_others_none(option, made, monkeypatch, bits):
    """As weights of bfloat16 and norms of float32 in one group: nothing is updated alone."""
    small = []

    def lion_columns_(xs, *args, make=cpu_small.lion_columns_, **kwargs):
        small.append(len(xs))
        make(xs, *args, **kwargs)

    monkeypatch.setattr(cpu_small, "lion_columns_", lion_columns_)

    def trained(groups):
        generator = torch.Generator().manual_seed(3)
        params = [torch.nn.Parameter(torch.ones(130, dtype=d)) for d in (BF16, F32, BF16, F32)]
        optimizer = Lion(groups(params), 0.01, correction_bits=8, **option)
        for _ in range(3):
            for p in params:
                p.grad = torch.randn(130, generator=generator).to(p.dtype)
            optimizer.step()
        return bits([(p, optimizer.state[p]) for p in params])

    together = trained(lambda params: params)
    assert (small, made) == ([2] * 3, [2] * 3)
    assert together == trained(lambda params: [{"params": params[i::2]} for i in (0, 1)])


def test_zeros_without_memory_are_gradients(made, bits):
    """Which autograd makes, as for a sign."""
    results = []
    for zeros in (torch._efficientzerotensor, torch.zeros):
        params = [torch.nn.Parameter(torch.ones(3)) for _ in range(3)]
        optimizer = Lion(params, 0.5, weight_decay=0.1, nonfinite="skip")
        for empty in range(3):
            for i, p in enumerate(params):
                p.grad = torch.ones(3) if i != empty else zeros((3,))
            optimizer.step()
        params[0].grad = zeros((3,))
        optimizer.update_parameter(params[0], 0)
        results.append(bits([(p, optimizer.state[p]) for p in params]))
    assert results[0] == results[1]
    assert made == [3, 3, 3, 1] * 2


def give_back(t):
    t.untyped_storage().resize_(0)


def change(name, how):
    """What replaces a tensor of a parameter, or of its state, by another made of it."""

    def replace(p, kept):
        if name in ("grad", "data"):
            setattr(p, name, how(getattr(p, name)))
        else:
            kept[name] = how(kept[name])

    return replace


def expanded(t):
    return t[:1].clone().expand(3)


INT8, EMA, TWO = {"momentum_dtype": "int8"}, {"ema_decay": 0.5}, {"gradient_accumulation_steps": 2}
C64 = torch.complex64
# Options, what is done to a parameter and its state between two steps, and what is said of it.
SPOILT = [
    ({}, lambda p, _: give_back(p.grad), ConfigError, "or its gradient has no memory"),
    ({}, lambda p, _: give_back(p.data), ConfigError, "or its gradient has no memory"),
    ({}, lambda _, kept: give_back(kept["exp_avg"]), StateError, "the momentum .* without memory"),
    (INT8, lambda _, kept: give_back(kept["exp_avg_scale"]), StateError, "scale .* without memory"),
    ({}, change("exp_avg", lambda t: t.tolist()), StateError, "no tensor, but of <class 'list'>"),
    ({}, change("exp_avg", lambda t: None), StateError, "no tensor, but of <class 'NoneType'>"),
    (INT8, change("exp_avg_scale", lambda t: None), StateError, "scale .* no tensor, but of"),
    (TWO, change("seen", lambda t: [1]), StateError, r"the count of gradients .* is \[1\]"),
    ({}, change("exp_avg", lambda t: t.to("meta")), StateError, "is on meta, and its parameter on"),
    (
        {},
        change("exp_avg", lambda t: t.to_sparse()),
        StateError,
        "the momentum .* is sparse",
    ),
    ({}, change("exp_avg", expanded), StateError, "elements of the momentum .* share their memory"),
    ({}, change("exp_avg", lambda t: t.to(torch.int8)), StateError, "int8 without its scales"),
    ({}, change("exp_avg", lambda t: t.int()), StateError, "of torch.int32, and its parameter"),
    ({}, change("exp_avg", lambda t: t.to(C64)), StateError, "of torch.complex64, and its param"),
    (EMA, change("average", lambda t: t.long()), StateError, "the average .* is of torch.int64"),
    (EMA, change("average", expanded), StateError, "elements of the average .* share their"),
    (TWO, change("grad_sum", lambda t: t.to("meta")), StateError, "the sum of .* is on meta"),
    ({}, change("data", lambda t: t.to(C64)), StateError, "and its parameter of torch.complex64"),
    ({}, change("data", expanded), ConfigError, "elements of .* share their memory"),
    ({}, change("grad", lambda t: t.to(C64)), DtypeError, "is of torch.complex64, and the param"),
    ({}, change("grad", lambda t: t.int()), DtypeError, "is of torch.int32, and the parameter"),
]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("options", "spoil", "error", "message"), SPOILT)
def test_what_cannot_be_updated_is_refused_before_anything_moves(
    options, spoil, error, message, count
):
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(count)]
    optimizer = Lion(params, lr=0.5, **options)
    for p in params:
        p.grad_dtype = None
        p.grad = torch.ones(3)
    for _ in range(options.get("gradient_accumulation_steps", 1)):
        optimizer.step()
    spoil(params[-1], optimizer.state[params[-1]])
    with pytest.raises(error, match=message):
        optimizer.step()
    assert all(p.tolist() == [0.5] * 3 for p in params[:-1])
    counts = [int(optimizer.param_groups[0][name]) for name in ("count", "micro")]
    assert counts == [1, 0]
