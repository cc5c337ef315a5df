"""Which updates a step makes together, and by which kernel."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("numba", reason="needs numba, which is not installed")

from lion_ports.torch import Lion, cpu, gpu  # noqa: E402


@pytest.fixture
def made(monkeypatch):
    """The sizes that the kernels are asked for, call by call; that of the GPU is a pretence."""
    calls = []

    def lion_columns_(xs, *args, make=cpu.lion_columns_, **kwargs):
        calls.append(("cpu", [x.numel() for x in xs]))
        make(xs, *args, **kwargs)

    monkeypatch.setattr(cpu, "lion_columns_", lion_columns_)

    def on_gpu(xs, gs, ms, settings, factors):
        calls.append(("gpu", [x.numel() for x in xs]))

    monkeypatch.setattr(gpu, "lion_columns_", on_gpu)
    monkeypatch.setattr(gpu, "takes", lambda *_: True)
    return calls


def parameters(sizes, **options):
    made = [torch.nn.Parameter(torch.ones(size, **options)) for size in sizes]
    for p in made:
        p.grad = torch.ones_like(p)
    return made


def test_a_group_is_one_call(made):
    first, second = parameters((3, 4, 5)), parameters((6, 0))
    Lion([{"params": first}, {"params": second, "lr": 0.5}]).step()
    assert made == [("cpu", [3, 4, 5]), ("cpu", [6, 0])]


def test_gradients_made_for_an_update_do_not_wait_for_all_others(made):
    params = parameters([(1 << 16, 2)] * 9)
    for p in params:
        p.data, p.grad = p.data.mT, p.grad.mT  # no kernel clips the gradients of these
    Lion(params, clipvalue=0.5).step()
    assert [len(sizes) for _, sizes in made] == [2, 2, 2, 2, 1]
    made.clear()
    Lion(params).step()
    assert [len(sizes) for _, sizes in made] == [9]


def test_each_device_has_its_kernel(made):
    on_cpu, elsewhere = parameters([3]), parameters([5, 4], device="meta")
    for params in ([*on_cpu, *elsewhere], [*elsewhere, *on_cpu]):
        made.clear()
        Lion(params).step()
        assert sorted(made) == [("cpu", [3]), ("gpu", [5, 4])]


def test_complex_parameters_are_pairs_of_reals(made):
    Lion(parameters([3], dtype=torch.complex64)).step()
    assert made == [("cpu", [6])]


def test_what_looks_at_a_whole_tensor_is_left_to_plain_operations(made):
    Lion(parameters([3]), nonlinearity="l2").step()
    Lion(parameters([3]), nonlinearity="tanh").step()
    assert made == []
