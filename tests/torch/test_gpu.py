"""The optimizer on a GPU: nothing of this runs without one."""

import ml_dtypes
import numpy as np
import pytest

from lion_ports import reference
from lion_ports.config import LionConfig, Scalars

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports.torch import Lion, gpu  # noqa: E402
from lion_ports.torch.jobs import Update  # noqa: E402

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no device of CUDA or ROCm"
)
SHAPES = [(1024, 300), (300,), (7, 11, 13), (), (0,), (4099,)]


def array(t):
    t = t.detach().cpu()
    if t.dtype == torch.bfloat16:
        return t.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return t.numpy().copy()


def parameters(dtype=torch.float32, shapes=SHAPES):
    generator = torch.Generator("cuda").manual_seed(1)
    made = [torch.randn(shape, device="cuda", generator=generator) for shape in shapes]
    return [torch.nn.Parameter(values.to(dtype)) for values in made]


def gradients(params, seed):
    """In place, as a graph wants them."""
    generator = torch.Generator("cuda").manual_seed(seed)
    for p in params:
        if p.grad is None:
            p.grad = torch.empty_like(p)
        p.grad.normal_(generator=generator)


class Reference:
    """The same optimizer in NumPy."""

    def __init__(self, params, **settings):
        self.config = LionConfig(**settings)
        self.params = {str(i): array(p) for i, p in enumerate(params)}
        self.state = reference.init(self.params, self.config)

    def step(self, params, lr=None):
        grads = {str(i): array(p.grad) for i, p in enumerate(params)}
        self.params, self.state = reference.step(self.params, grads, self.state, self.config, lr=lr)

    def check(self, optimizer, params):
        for i, p in enumerate(params):
            momentum = optimizer.state[p]["exp_avg"]
            assert array(p).tobytes() == self.params[str(i)].tobytes()
            assert array(momentum).tobytes() == self.state.momentum[str(i)].tobytes()


@pytest.fixture
def taken(monkeypatch):
    """Updates that the kernel made."""
    made, lion_updates_ = [], gpu.lion_updates_

    def noted(updates, *args, **kwargs):
        made.extend(updates)
        lion_updates_(updates, *args, **kwargs)

    monkeypatch.setattr(gpu, "lion_updates_", noted)
    return made


OPTIONS = {
    "lion": {},
    "decay": {"weight_decay": 0.1},
    "independent": {"weight_decay": 0.1, "decay": "independent", "lr_peak": 0.02},
    "cautious": {"cautious": True, "cautious_decay": True, "weight_decay": 0.1},
    "clip": {"nonlinearity": "clip", "steepness": 3.0},
    "maximize": {"maximize": True},
    "momentum": {"momentum_dtype": "float32"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str
)
def test_steps(taken, dtype, options):
    params = parameters(dtype)
    optimizer, numpy = Lion(params, lr=0.01, **options), Reference(params, lr=0.01, **options)
    for seed in range(3):
        gradients(params, seed)
        optimizer.step()
        numpy.step(params)
    numpy.check(optimizer, params)
    assert len(taken) == 3 * len(params)


def test_strides(taken):
    params = [
        torch.nn.Parameter(torch.randn(64, 128, device="cuda").T),
        torch.nn.Parameter(
            torch.randn(8, 4, 5, 6, device="cuda").to(memory_format=torch.channels_last)
        ),
    ]
    optimizer, numpy = Lion(params, lr=0.01), Reference(params, lr=0.01)
    gradients(params, 1)
    optimizer.step()
    numpy.step(params)
    numpy.check(optimizer, params)
    assert len(taken) == 2


def test_nothing_waits():
    """With a learning rate on the device, another one each step."""
    lr = torch.tensor(0.01, device="cuda")
    params = parameters()
    optimizer = Lion(params, lr=lr, weight_decay=0.1)
    gradients(params, 0)
    optimizer.step()  # compiles, and makes the state
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for seed in range(3):
            gradients(params, seed)
            lr.mul_(0.5)
            optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_one_launch():
    params = parameters(shapes=[(100 + i, 10) for i in range(200)])
    optimizer = Lion(params)
    gradients(params, 1)
    optimizer.step()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        optimizer.step()
        torch.cuda.synchronize()
    launches = [event.name for event in profile.events() if "lion_kernel" in event.name]
    assert len(launches) == 1


def test_graph():
    """A captured step, replayed with other gradients and another learning rate."""
    lr = torch.tensor(0.01, device="cuda")
    params = parameters()
    optimizer, numpy = Lion(params, lr=lr), Reference(params, lr=0.01)
    gradients(params, 0)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    numpy.step(params)

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    # What a replay would read, had its tables not been the graph's own.
    others = [torch.full((1 << 16,), -1.0, device="cuda") for _ in range(50)]
    for seed, rate in enumerate((0.5, 0.25, 0.125)):
        gradients(params, seed)
        lr.fill_(rate)
        graph.replay()
        numpy.step(params, lr=rate)
    numpy.check(optimizer, params)
    assert all(bool((other == -1).all()) for other in others)


def test_several_devices():
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one device only")
    params = [torch.nn.Parameter(torch.ones(3000, device=f"cuda:{i}")) for i in (0, 1)]
    optimizer, numpy = Lion(params, lr=0.01), Reference(params, lr=0.01)
    for p in params:
        p.grad = torch.linspace(-1, 1, 3000, device=p.device)
    optimizer.step()
    numpy.step(params)
    numpy.check(optimizer, params)


@pytest.mark.slow
def test_more_elements_than_an_int32_counts():
    size = 2**31 + 5000
    if torch.cuda.mem_get_info()[0] < 3 * 2 * size + 2**30:
        pytest.skip("the device has less than 14 GB of free memory")
    x, g, m = (torch.zeros(size, dtype=torch.bfloat16, device="cuda") for _ in range(3))
    g[-10:] = 1.0
    gpu.lion_updates_([Update(x, g, m)], Scalars(lr=0.5, b1=0.9, b2=0.5, wd=0.0))
    np.testing.assert_array_equal(array(x[-12:]), np.repeat([0.0, -0.5], [2, 10]))
    assert int(x.count_nonzero()) == int(m.count_nonzero()) == 10
