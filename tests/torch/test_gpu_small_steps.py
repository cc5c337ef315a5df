"""Steps of the optimizer that the kernel for small state makes: interpreted, and on a GPU."""

from types import SimpleNamespace

import numpy as np
import pytest
from small_state import LR, stream

from lion_ports import LionConfig, reference

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("triton", reason="needs triton, which is not installed")

from gpu_machines import MACHINES, array, check_same, interpret, note_launches  # noqa: E402

from lion_ports.torch import (  # noqa: E402
    Lion,
    columns,
    gpu_kernel,
    gpu_small,
    gpu_small_kernel,
    work,
)
from lion_ports.torch.state import from_numpy  # noqa: E402

INT8 = {"momentum_dtype": "int8"}
RUNS = [
    ("float32", INT8),
    ("float16", INT8 | {"nonlinearity": "clip", "steepness": 3.0}),
    ("float64", INT8 | {"maximize": True}),
    ("bfloat16", INT8 | {"correction_bits": 8, "decay": "independent", "lr_peak": 0.5}),
    ("bfloat16", {"correction_bits": 8, "cautious_decay": True, "clipvalue": 0.5}),
    ("bfloat16", {"correction_bits": 16, "ema_decay": 0.75, "ema_overwrite_every": 3}),
]


def pretend(monkeypatch):
    """Let small state on the CPU go where that on a GPU does."""
    have_a_kernel = work._have_a_kernel

    def as_of_a_gpu(job):
        return job.settings.as_given and job.average is None and have_a_kernel(job)

    def lion_columns_(*columns, factors, averages):
        gpu_small.lion_columns_(*columns)

    monkeypatch.setattr(work, "_have_a_kernel", as_of_a_gpu)
    monkeypatch.setattr(work, "cpu_small", gpu_small)
    monkeypatch.setattr(columns, "cpu_small", SimpleNamespace(lion_columns_=lion_columns_))
    monkeypatch.setattr(gpu_small, "takes", lambda *update: True)


@pytest.mark.parametrize(("dtype", "options"), RUNS, ids=str)
@pytest.mark.parametrize("machine", MACHINES)
def test_steps(machine, monkeypatch, dtype, options):
    """Beside the reference; interpreted, of what is on the CPU as if it was on a GPU."""
    if machine == "interpreter":
        machine = "cpu"
        interpret(monkeypatch, gpu_kernel, gpu_small_kernel)
        pretend(monkeypatch)
    launches = note_launches(monkeypatch, gpu_small_kernel, "small_lion_kernel")
    arrays, grads = stream(dtype, 6, subnormal=True)
    params = {n: torch.nn.Parameter(from_numpy(x).to(machine)) for n, x in arrays.items()}
    settings = {"lr": LR, "weight_decay": 0.1, **options}
    config, optimizer = LionConfig(**settings), Lion(params.items(), **settings)
    state = reference.init(arrays, config)
    for k, g in enumerate(grads):
        for n, p in params.items():
            p.grad = None if g[n] is None else from_numpy(g[n]).to(machine)
        with np.errstate(all="ignore"):
            optimizer.step()
            arrays, state = reference.step(arrays, g, state, config)
        slots = {
            "exp_avg": state.momentum,
            "exp_avg_scale": state.momentum_scale,
            "correction": state.correction,
        }
        for n, p in params.items():
            check_same(array(p.detach()), arrays[n])
            for slot, kept in slots.items():
                if n in kept:
                    check_same(array(optimizer.state[p][slot]), kept[n])
        assert len(launches) == k + 1


def test_a_step_leaves_small_state_on_a_gpu_to_it(monkeypatch):
    """On a device that has no memory: what is asked, and what is given to be updated."""
    asked, made = [], []
    monkeypatch.setattr(gpu_small, "takes", lambda *update: asked.append(update) or True)
    monkeypatch.setattr(gpu_small, "lion_columns_", lambda *c, factors: made.append(c))
    p = torch.nn.Parameter(torch.empty(130, dtype=torch.bfloat16, device="meta"))
    optimizer = Lion([p], momentum_dtype="int8", correction_bits=8)
    for count in range(2):
        p.grad = torch.empty_like(p)
        optimizer.step()
        state = optimizer.state[p]
        due = p, p.grad, state["exp_avg"], state["exp_avg_scale"], state["correction"]
        *columns, settings = made[count]
        assert all(a is b for a, b in zip(asked[count][:5], due, strict=True))
        assert all(len(c) == 1 and c[0] is t for c, t in zip(columns, due, strict=True))
        assert asked[count][5] == settings.before == count
    assert len(made) == 2
