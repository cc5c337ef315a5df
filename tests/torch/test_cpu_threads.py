"""Threads, processes and environments that the step on a CPU works in, and the memory it takes."""

import threading
import tracemalloc

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("numba", reason="needs numba, which is not installed")

from lion_ports.torch import Lion  # noqa: E402

# Some tensors that are worth several threads, and some that are not.
SIZES = (3, 1 << 20, 0, 70_001, 12_345, 1)


def training(seed=0, sizes=SIZES, **options):
    """An optimizer of its own with parameters that have gradients."""
    generator = torch.Generator().manual_seed(seed)
    params = [torch.nn.Parameter(torch.randn(size, generator=generator)) for size in sizes]
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator)
    return Lion(params, lr=0.01, weight_decay=0.1, **options)


def state_of(optimizer):
    params = optimizer.param_groups[0]["params"]
    return params, [optimizer.state[p]["exp_avg"] for p in params]


@pytest.mark.parametrize("cautious", [False, True])
def test_the_number_of_threads_does_not_change_a_bit(cautious, threads, bits, whose):
    results = []
    for number in (1, 2, 5):
        threads(number)
        optimizer = training(cautious=cautious)
        optimizer.step()
        results.append(bits(state_of(optimizer)))
    assert results[0] == results[1] == results[2]


def test_optimizers_step_in_several_threads_at_once(threads, bits, whose):
    threads(2)
    alone, beside = [[training(seed) for seed in range(4)] for _ in range(2)]
    for optimizer in alone:
        for _ in range(3):
            optimizer.step()
    begin = threading.Barrier(len(beside), timeout=60)

    def run(optimizer):
        begin.wait()
        for _ in range(3):
            optimizer.step()

    runs = [threading.Thread(target=run, args=(optimizer,)) for optimizer in beside]
    for each in runs:
        each.start()
    for each in runs:
        each.join(timeout=60)
    assert [bits(state_of(o)) for o in beside] == [bits(state_of(o)) for o in alone]


FORKS = """
import multiprocessing, os, sys, torch
from lion_ports.torch import Lion

torch.set_num_threads(3)

def training():
    generator = torch.Generator().manual_seed(0)
    p = torch.nn.Parameter(torch.randn(1 << 20, generator=generator))
    p.grad = torch.randn(1 << 20, generator=generator)
    return p, Lion([p], lr=0.1)

def right(p):
    return p.detach().numpy().tobytes() == expected

q, other = training()
other.step()
other.step()
expected = q.detach().numpy().tobytes()
p, optimizer = training()
optimizer.step()

child = os.fork()
if not child:
    optimizer.step()
    os._exit(0 if right(p) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def step():
    optimizer.step()
    sys.exit(0 if right(p) else 1)

process = multiprocessing.get_context("fork").Process(target=step)
process.start()
process.join()
assert process.exitcode == 0

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        p, optimizer = training()
        optimizer.step()
        optimizer.step()
        return torch.tensor(right(p))

loader = torch.utils.data.DataLoader(Data(), num_workers=2, multiprocessing_context="fork")
assert torch.cat(list(loader)).tolist() == [True] * 4
optimizer.step()
assert right(p)
"""

# Torch has used its threads, and would wait for them in the child.
FORK_AFTER_TORCH = """
import os, numpy as np, torch

torch.set_num_threads(3)
torch.ones(1 << 20).add_(1)
child = os.fork()
if not child:
    from lion_ports.torch import Lion

    zeros, ones = (torch.from_numpy(np.full(1 << 21, n, np.float32)) for n in (0, 1))
    p = torch.nn.Parameter(zeros)
    p.grad = ones
    optimizer = Lion([p], lr=0.5)
    optimizer.state[p]["exp_avg"] = torch.from_numpy(np.zeros(1 << 21, np.float32))
    optimizer.step()
    os._exit(0 if (p.detach().numpy() == -0.5).all() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

# Two steps as in training(); {first} and {then} say what is the matter with numba.
STEPS = """
import sys, warnings
{first}
import torch
import lion_ports.torch
assert not sys.modules.get("numba"), "imported before it is needed"
assert "torch._dynamo" not in sys.modules, "the compiler is imported before it is needed"
generator = torch.Generator().manual_seed(0)
params = [torch.nn.Parameter(torch.randn(size, generator=generator)) for size in (3, 70_001)]
for p in params:
    p.grad = torch.randn(p.shape, generator=generator)
optimizer = lion_ports.torch.Lion(params, lr=0.01, weight_decay=0.1)
{then}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    optimizer.step()
    optimizer.step()
assert [str(one.message) for one in said] == {said}, [str(one.message) for one in said]
torch.save([p.detach() for p in params], sys.argv[1] + "/out.pt")
"""
MATTERS = {
    "missing": ("sys.modules['numba'] = None", "", []),
    "without a cache": (
        "",
        "import numba.core.caching; numba.core.caching.CacheImpl._locator_classes = []",
        [],
    ),
} | {
    error: (
        "sys.path.insert(0, sys.argv[1])",
        f"open(sys.argv[1] + '/numba.py', 'w').write('raise {error}(\"too old\")')",
        ["Lion is slower without numba, which is broken: too old"],
    )
    for error in ("ImportError", "OSError", "SystemError")
}


@pytest.mark.parametrize("script", [FORKS, FORK_AFTER_TORCH], ids=["of ours", "of torch"])
def test_processes_that_are_forked_off_step_on(script, worker, tmp_path):
    (tmp_path / "forks.py").write_text(script, encoding="utf-8")
    worker(tmp_path / "forks.py", tmp_path)


@pytest.mark.parametrize(
    "matter",
    [
        "missing",
        "OSError",
        *(
            pytest.param(matter, marks=pytest.mark.slow)
            for matter in ("without a cache", "ImportError", "SystemError")
        ),
    ],
)
def test_the_bits_are_the_same_whatever_is_the_matter_with_numba(matter, worker, tmp_path, bits):
    first, then, said = MATTERS[matter]
    script = STEPS.format(first=first, then=then, said=said)
    (tmp_path / "steps.py").write_text(script, encoding="utf-8")
    worker(tmp_path / "steps.py", tmp_path)
    optimizer = training(sizes=(3, 70_001))
    optimizer.step()
    optimizer.step()
    assert bits(torch.load(tmp_path / "out.pt")) == bits(optimizer.param_groups[0]["params"])


@pytest.mark.parametrize("options", [{}, {"cautious": True}, {"maximize": True}], ids=str)
def test_a_step_takes_no_memory_of_the_size_of_a_tensor(options):
    optimizer = training(sizes=(1 << 20, 1000, 1 << 20), **options)
    optimizer.step()  # makes the state
    activities = [torch.profiler.ProfilerActivity.CPU]
    tracemalloc.start()
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        optimizer.step()
    _, peak = tracemalloc.get_traced_memory()  # of Python and NumPy
    tracemalloc.stop()
    taken = [event.self_cpu_memory_usage for event in profile.events()]
    assert sum(size for size in taken if size > 0) < 1024
    assert peak < 1 << 19
