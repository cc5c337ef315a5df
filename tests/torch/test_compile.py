"""torch.compile(optimizer.step): the bits of eager steps, and nothing compiled twice."""

import pytest
from usual import usually

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports.torch import Lion  # noqa: E402

STEPS = 6
OPTIONS = {
    "plain": {},
    "momentum": {"momentum_dtype": "bfloat16"},
    "independent": {"decay": "independent"},
    "cautious": {"cautious": True, "cautious_decay": True},
    "tanh": {"nonlinearity": "tanh"},
    "clipnorm": {"clipnorm": 0.5},
    "global": {"global_clipnorm": 0.5},
    "skip": {"nonfinite": "skip"},
    "average": {"ema_decay": 0.9},
    "dynamic": {"loss_scale": "dynamic"},
    "schedules": {"lr": lambda step: 0.1 / (step + 1), "weight_decay": lambda step: 0.1 * step},
}


def start(**settings):
    params = [torch.nn.Parameter(torch.linspace(-1, 1, size)) for size in (3, 7)]
    return params, Lion(params, **{"lr": 0.1, "weight_decay": 0.1} | settings)


def train(params, optimizer, step, change=lambda group, i: None):
    """Steps with normal gradients; where squares are summed, in any order, without rounding."""
    generator = torch.Generator().manual_seed(0)
    exact = {optimizer.config.global_clipnorm, optimizer.defaults["clipnorm"]} != {None}
    for i in range(STEPS):
        for group in optimizer.param_groups:
            change(group, i)
        for p in params:
            g = torch.randn(p.shape, generator=generator)
            p.grad = g.mul(4).round().div(4) if exact else g
        step()


def compiled(optimizer):
    """The step, compiled to graphs that run as they are, and the list of these graphs."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    return torch.compile(optimizer.step, backend=backend), graphs


def numbers(group, i):
    group["lr"], group["weight_decay"] = 0.1 / (i + 1), 0.1 * (i + 1)


def tensors(group, i):
    group["lr"].fill_(0.1 / (i + 1))
    group["weight_decay"].fill_(0.1 * (i + 1))


# Others change nothing in what a step reads and writes, or are like one of these.
USUAL = ("plain", "momentum", "cautious", "clipnorm", "skip", "average", "schedules")


@pytest.mark.parametrize(
    "options", usually([OPTIONS[name] for name in USUAL], OPTIONS.values()), ids=OPTIONS
)
def test_compiled_steps_are_eager_steps(options, bits):
    params, optimizer = start(**options)
    others, eager = start(**options)
    step, graphs = compiled(optimizer)
    train(params, optimizer, step)
    train(others, eager, eager.step)
    assert bits(params) == bits(others)
    assert bits(optimizer.state_dict()) == bits(eager.state_dict())
    assert len(graphs) == 1


@pytest.mark.parametrize("dtypes", ["bfloat16", "bfloat16 complex64"])
def test_a_kernel_is_not_traced_where_a_graph_breaks(dtypes, bits):
    """As it does at a gradient of another dtype than its parameter; tracing a kernel would warn."""
    runs = []
    for compiles in (False, True):
        generator = torch.Generator().manual_seed(0)
        params = [
            torch.nn.Parameter(torch.randn(size, generator=generator).to(getattr(torch, dtype)))
            for dtype in dtypes.split()
            for size in (3, 7)
        ]
        optimizer = Lion(params, lr=0.1, weight_decay=0.1)
        step = compiled(optimizer)[0] if compiles else optimizer.step
        for _ in range(3):
            for p in params:
                p.grad_dtype = None
                g = torch.randn(p.shape, generator=generator)
                p.grad = g.to(p.dtype) if p.is_complex() else g
            step()
        runs.append(bits(params))
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("make", "change"), [(float, numbers), (torch.tensor, tensors)], ids=["numbers", "tensors"]
)
def test_other_rates_and_decays_compile_nothing(make, change, bits):
    params, optimizer = start(lr=make(0.1), weight_decay=make(0.1))
    others, eager = start()
    step, graphs = compiled(optimizer)
    train(params, optimizer, step, change)
    train(others, eager, eager.step, numbers if make is float else lambda group, i: None)
    assert len(graphs) == 1
    if make is float:
        assert bits(params) == bits(others)


def test_a_torch_scheduler_compiles_nothing(bits):
    runs, graphs = [], []
    for compiles in (True, False):
        params, optimizer = start()
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        step, graphs = compiled(optimizer) if compiles else (optimizer.step, graphs)

        def both(step=step, scheduler=scheduler):
            step()
            scheduler.step()

        train(params, optimizer, both)
        runs.append(params)
    assert bits(runs[0]) == bits(runs[1])
    assert len(graphs) == 1


def test_accumulation_compiles_one_graph_for_micro_steps_and_one_for_updates(bits):
    params, optimizer = start(gradient_accumulation_steps=3)
    others, eager = start(gradient_accumulation_steps=3)
    step, graphs = compiled(optimizer)
    train(params, optimizer, step)
    train(others, eager, eager.step)
    assert bits(params) == bits(others)
    assert len(graphs) == 2


@pytest.mark.slow
def test_inductor_keeps_the_bits(bits):
    params, optimizer = start(cautious=True, ema_decay=0.9, clipvalue=0.5)
    others, eager = start(cautious=True, ema_decay=0.9, clipvalue=0.5)
    torch.compiler.reset()
    train(params, optimizer, torch.compile(optimizer.step), numbers)
    train(others, eager, eager.step, numbers)
    assert bits(params) == bits(others)
    assert bits(optimizer.state_dict()) == bits(eager.state_dict())
