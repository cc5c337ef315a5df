"""Facts of many tensors, as DLPack tells them and as Python is told one by one."""

import ctypes

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("numba", reason="needs numba, which is not installed")

from lion_ports.torch import Lion, column, dlpack  # noqa: E402
from lion_ports.torch.column import Column  # noqa: E402

N = 40


class Own(torch.Tensor):
    """A class whose tensors might have no memory of their own."""


def zeros_without_memory():
    x = torch.ones(4, 5, requires_grad=True)
    torch.sgn(x).sum().backward()
    return x.grad


KINDS = {
    "plain": torch.ones(4, 5),
    "parameter": torch.nn.Parameter(torch.ones(4, 5)),
    "transposed": torch.ones(5, 4).mT,
    "transposed square": torch.ones(4, 4).mT,
    "square": torch.ones(4, 4),
    "part": torch.ones(8, 5)[3:7],
    "gaps": torch.ones(4, 10)[:, ::2],
    "expanded": torch.ones(1, 5).expand(4, 5),
    "other shape": torch.ones(5, 4),
    "fewer dimensions": torch.ones(20),
    "more dimensions": torch.ones(1, 4, 5, 1, 1, 1, 1),
    "one element": torch.ones(()),
    "one row of many": torch.ones(5, 4)[:, :1].mT,
    "channels last": torch.ones(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    "nothing": torch.ones(4, 0),
    "nothing, transposed": torch.ones(0, 4).mT,
    "float64": torch.ones(4, 5, dtype=torch.float64),
    "bfloat16": torch.ones(4, 5, dtype=torch.bfloat16),
    "float16": torch.ones(4, 5, dtype=torch.float16),
    "int8": torch.ones(4, 5, dtype=torch.int8),
    "int16": torch.ones(4, 5, dtype=torch.int16),
    "complex": torch.ones(4, 5, dtype=torch.complex64),
    "negative": torch._neg_view(torch.ones(4, 5)),
    "zeros without memory": zeros_without_memory(),
    "meta": torch.ones(4, 5, device="meta"),
    "sparse": torch.eye(4).to_sparse(),
    "of a class of its own": torch.ones(4, 5).as_subclass(Own),
    "None": None,
}
FACTS = ("plain", "strided", "in_memory", "alike", "sizes", "starts", "addresses")


def facts(tensors):
    """All that can be asked of them, and what cannot."""
    told = {}
    for name in FACTS:
        try:
            value = getattr(tensors, name)
        except (RuntimeError, TypeError, AttributeError) as error:
            value = type(error)
        told[name] = value.tolist() if hasattr(value, "tolist") else value
    return told


def one_by_one(monkeypatch, tensors):
    with monkeypatch.context() as patched:
        patched.setattr(column, "_MANY", N + 1)
        return facts(Column(tensors))


@pytest.mark.parametrize("kind", KINDS)
def test_facts_are_the_same(kind, monkeypatch):
    """All of a kind, and one among others."""
    for others in (kind, "plain", "bfloat16"):
        tensors = [KINDS[others]] * N
        tensors[N // 2] = KINDS[kind]
        assert facts(Column(tensors)) == one_by_one(monkeypatch, tensors)


def test_what_is_told_is_what_is_so():
    tensors = Column([torch.ones(2, 3)] * 31 + [torch.ones(2, 3).clone()])
    assert tensors._description is not None
    assert (tensors.plain, tensors.strided, tensors.in_memory, tensors.alike) == (True,) * 4
    assert tensors.starts.tolist() == [*range(0, 193, 6)]
    assert tensors.addresses.tolist() == [t.data_ptr() for t in tensors]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "None"])
def test_shapes_are_compared_as_python_compares_them(kind):
    for t in (t for t in KINDS.values() if t is not None):
        one, other = (Column([KINDS["plain"]] * N + [last]) for last in (KINDS[kind], t))
        assert one.same_shapes(other) == (KINDS[kind].shape == t.shape)


def test_what_dlpack_cannot_describe_leaves_no_exception_behind():
    for kind in ("sparse", "meta"):
        assert dlpack.described([KINDS["plain"]] * N + [KINDS[kind]]) is None
    assert dlpack.described([KINDS["plain"]] * N) is not None


def test_a_dlpack_of_another_major_version_is_not_asked(monkeypatch):
    api = dlpack._ExchangeAPI(major=2, tensor_from_py_object=1)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    capsule = new(ctypes.addressof(api), b"dlpack_exchange_api", None)
    monkeypatch.setattr(torch.Tensor, "__dlpack_c_exchange_api__", capsule)
    monkeypatch.setattr(dlpack, "_function", dlpack._function.__wrapped__)
    assert dlpack.described([KINDS["plain"]] * N) is None
    tensors = [torch.nn.Parameter(torch.ones(2)) for _ in range(N)]
    optimizer = Lion(tensors, lr=0.5)
    for t in tensors:
        t.grad = torch.ones(2)
    optimizer.step()
    assert all(t.tolist() == [0.5, 0.5] for t in tensors)


def test_what_changes_between_steps_is_seen():
    """The same parameters, whose memory, strides and shapes are others."""
    made = []
    for count in (N, 1):  # by DLPack, and by Python
        torch.manual_seed(0)
        x = torch.randn(4, 4)
        params = [torch.nn.Parameter(x.clone()) for _ in range(count)]
        optimizer = Lion(params, lr=0.1, weight_decay=0.1)
        for change in (
            lambda t: t,
            lambda t: t.mT,
            lambda t: t.clone(),
            lambda t: t.contiguous(),
            lambda t: torch.stack((t, t), -1)[..., 0],
        ):
            g = torch.randn(4, 4)
            for p in params:
                p.data = change(p.data)
                p.grad = g.clone()
            optimizer.step()
        kept = optimizer.state[params[0]]["exp_avg"]
        made.append([params[0].tolist(), kept.tolist()])
        assert all(p.tolist() == made[-1][0] for p in params)
    assert made[0] == made[1]
