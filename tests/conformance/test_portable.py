"""A run that changes its backend again and again ends where the reference ends, bit for bit."""

from dataclasses import replace
from functools import cache
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lion_ports import load_state, save_state
from lion_ports.conformance.adapters import adapt, find
from lion_ports.conformance.bits import reals, same
from lion_ports.conformance.cases.streams import option_trial
from lion_ports.conformance.verdict import reference_run

for module in ("torch", "jax", "mlx"):
    pytest.importorskip(module, reason=f"needs the extra {module!r}")

BACKENDS = ["numpy", "torch", "jax", "mlx"]
STEPS = 50

OPTIONS = [
    {},
    {"momentum_dtype": "float32"},
    {"decay": "independent", "lr_peak": 2.0**-6},
    {"ema_decay": 0.9, "ema_overwrite_every": 7},
    {"gradient_accumulation_steps": 3},
    {"loss_scale": "dynamic", "loss_scale_growth_interval": 4},
    {
        "momentum_dtype": "bfloat16",
        "cautious": True,
        "cautious_decay": True,
        "decay": "independent",
        "lr_peak": 2.0**-6,
        "ema_decay": 0.99,
        "gradient_accumulation_steps": 2,
        "loss_scale": "dynamic",
        "clipvalue": 1.0,
    },
]


@cache
def adapter(backend):
    return adapt(find(backend, {}, {}))


def started(backend, trial):
    implementation = adapter(backend).make()
    implementation.start(dict(trial.params), trial.config, None)
    return implementation


def run_in_turn(trial, backends, lengths, path):
    """The last snapshot of a run that goes from one backend to the next by a file."""
    done, running = 0, None
    for backend, length in zip(backends, lengths, strict=True):
        fresh = started(backend, trial)
        if running is not None:
            save_state(path, running.export())
            fresh.adopt(load_state(path))
        running = fresh
        for step in trial.steps[done : done + length]:
            running.step(dict(step.grads), step.lr)
        done += length
    assert done == len(trial.steps)
    return running


@st.composite
def chains(draw):
    """Backends in any order, and how many steps each of them makes."""
    cuts = sorted(draw(st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=5)))
    ends = [0, *cuts, STEPS]
    lengths = [b - a for a, b in pairwise(ends)]
    return [draw(st.sampled_from(BACKENDS)) for _ in lengths], lengths


DTYPES = ["float32", "bfloat16"]
# Each of the options with one of the dtypes, in turn; the others take as long again.
RUNS = [
    pytest.param(options, dtype, marks=[pytest.mark.slow] if (i + j) % 2 else [])
    for i, options in enumerate(OPTIONS)
    for j, dtype in enumerate(DTYPES)
]


@pytest.mark.parametrize(
    ("options", "dtype"),
    RUNS,
    ids=lambda value: value if isinstance(value, str) else "+".join(value) or "plain",
)
def test_any_chain_of_backends_ends_where_the_reference_ends(tmp_path, options, dtype):
    rates = [2.0**-6 * (1 + i % 5) for i in range(STEPS)]
    trial = option_trial(dtype, rates, **options)
    due = reference_run(trial)[-1]

    @settings(max_examples=4, deadline=None, derandomize=True, database=None)
    @given(chains())
    def check(chain):
        running = run_in_turn(trial, *chain, tmp_path / "state.safetensors")
        for found, expected in (
            (running.params(), due.params),
            (running.momentum(), due.momentum),
            (running.average() or {}, due.average or {}),
        ):
            assert found.keys() == expected.keys()
            assert all(same(reals(found[n]), reals(a)).all() for n, a in expected.items())

    check()


def test_every_pair_of_backends_hands_over(tmp_path):
    """One run in which each backend is followed by each, itself too."""
    turns = [BACKENDS[int(i)] for i in "00102031121322330"]
    assert {*pairwise(turns)} == {*product(BACKENDS, repeat=2)}
    trial = option_trial(rates=[2.0**-6] * len(turns), **OPTIONS[-1])
    trial = replace(trial, steps=trial.steps[: len(turns)])
    due = reference_run(trial)[-1]
    running = run_in_turn(trial, turns, [1] * len(turns), tmp_path / "state.safetensors")
    for found, expected in ((running.params(), due.params), (running.momentum(), due.momentum)):
        assert all(same(reals(found[n]), reals(a)).all() for n, a in expected.items())
