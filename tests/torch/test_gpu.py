"""The optimizer on a GPU: nothing of this runs without one."""

import ml_dtypes
import numpy as np
import pytest

from lion_ports import reference
from lion_ports.config import LionConfig, Rule, Scalars

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports.torch import Lion, gpu, gpu_small  # noqa: E402
from lion_ports.torch.jobs import SmallUpdate, Update  # noqa: E402
from lion_ports.torch.storage import zero_scales  # noqa: E402

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
        state = self.state
        kept = {
            "exp_avg": state.momentum,
            "exp_avg_scale": state.momentum_scale,
            "correction": state.correction,
        }
        for i, p in enumerate(params):
            assert array(p).tobytes() == self.params[str(i)].tobytes()
            for slot, arrays in kept.items():
                if str(i) in arrays:
                    assert array(optimizer.state[p][slot]).tobytes() == arrays[str(i)].tobytes()


@pytest.fixture
def taken(monkeypatch):
    """Updates that a kernel made."""
    made = []

    def note(lion_updates_):
        def noted(updates, *args, **kwargs):
            made.extend(updates)
            lion_updates_(updates, *args, **kwargs)

        return noted

    for kernel in (gpu, gpu_small):
        monkeypatch.setattr(kernel, "lion_updates_", note(kernel.lion_updates_))
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


INT8 = {"momentum_dtype": "int8"}
SMALL = {
    "codes": INT8,
    "decay of codes": INT8 | OPTIONS["independent"] | {"cautious_decay": True},
    "clip to codes": INT8 | OPTIONS["clip"],
    "corrections of 8 bits": {"correction_bits": 8, "weight_decay": 0.1},
    "corrections of 16 bits": {"correction_bits": 16, "momentum_dtype": "float32"},
    "both": INT8 | {"correction_bits": 8, "weight_decay": 0.1, "maximize": True},
    "both, exact": INT8 | {"correction_bits": 16},
}


def train(params, steps=3, **options):
    """Beside the reference, bit for bit."""
    optimizer, numpy = Lion(params, lr=0.01, **options), Reference(params, lr=0.01, **options)
    for seed in range(steps):
        gradients(params, seed)
        optimizer.step()
        numpy.step(params)
    numpy.check(optimizer, params)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str
)
def test_steps(taken, dtype, options):
    params = parameters(dtype)
    train(params, **options)
    assert len(taken) == 3 * len(params)


@pytest.mark.parametrize("options", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_small_state(taken, dtype, options):
    """Parameters of float32 have no corrections, and may have codes."""
    params = parameters(dtype)
    train(params, **options)
    small = dtype == torch.bfloat16 or options.get("momentum_dtype") == "int8"
    assert [type(update) for update in taken] == 3 * len(params) * [
        SmallUpdate if small else Update
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_codes_of_other_dtypes(taken, dtype):
    params = parameters(dtype)
    train(params, **INT8)
    assert len(taken) == 3 * len(params)


def test_cautious_small_state_is_left_to_plain_operations(taken):
    train(parameters(torch.bfloat16), **SMALL["both"], cautious=True)
    assert taken == []


@pytest.mark.parametrize(("options", "made"), [({}, 2), (INT8, 0)], ids=str)
def test_strides(taken, options, made):
    """By which blocks of small state do not go."""
    params = [
        torch.nn.Parameter(torch.randn(64, 128, device="cuda").T),
        torch.nn.Parameter(
            torch.randn(8, 4, 5, 6, device="cuda").to(memory_format=torch.channels_last)
        ),
    ]
    train(params, steps=1, **options)
    assert len(taken) == made


either = pytest.mark.parametrize("options", [{}, SMALL["both"]], ids=["ordinary", "small"])


@either
def test_nothing_waits(options):
    """With a learning rate on the device, another one each step."""
    lr = torch.tensor(0.01, device="cuda")
    params = parameters(torch.bfloat16)
    optimizer = Lion(params, lr=lr, **{"weight_decay": 0.1, **options})
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


@either
def test_one_launch(options):
    params = parameters(torch.bfloat16, [(100 + i, 10) for i in range(200)])
    optimizer = Lion(params, **options)
    gradients(params, 1)
    optimizer.step()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        optimizer.step()
        torch.cuda.synchronize()
    launches = [event.name for event in profile.events() if "lion_kernel" in event.name]
    assert len(launches) == 1


@pytest.mark.parametrize("options", [{}, {"correction_bits": 16}], ids=str)
def test_graph(options):
    """A captured step, replayed with other gradients and another learning rate."""
    lr = torch.tensor(0.01, device="cuda")
    params = parameters(torch.bfloat16)
    optimizer, numpy = Lion(params, lr=lr, **options), Reference(params, lr=0.01, **options)
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


@pytest.mark.slow
def test_more_small_state_than_an_int32_counts():
    size = 2**31 + 5000
    if torch.cuda.mem_get_info()[0] < 6 * size + 2**30:
        pytest.skip("the device has less than 15 GB of free memory")
    x, g = (torch.zeros(size, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    m, correction = (torch.zeros(size, dtype=torch.int8, device="cuda") for _ in range(2))
    g[-10:] = 1.0
    update = SmallUpdate(x, g, m, zero_scales(m), correction, 3)
    gpu_small.lion_updates_([update], Scalars(lr=0.5, b1=0.9, b2=0.5, wd=0.0), Rule())
    np.testing.assert_array_equal(array(x[-12:]), np.repeat([0.0, -0.5], [2, 10]))
    np.testing.assert_array_equal(array(m[-12:]), np.repeat([0, 120], [2, 10]))  # 1/2, exactly
    assert int(x.count_nonzero()) == int(m.count_nonzero()) == 10
    assert int(correction.count_nonzero()) == 0
