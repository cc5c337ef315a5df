"""The promise of the README: every backend is bitwise the reference on the CPU, compiled or not."""

import pytest
from usual import slow

from lion_ports.conformance.adapters import BUILT_IN
from lion_ports.conformance.cases import CASES, select
from lion_ports.conformance.execution import UNSUPPORTED
from lion_ports.conformance.runner import run

# Every dtype, NaN and infinity, decay, and each kind of option, in streams of a few steps.
SAMPLE = (
    "basic-decay",
    "sign-critical-tie",
    "dtype-*float*-heavy-tailed",
    "dtype-complex64",
    "nonfinite-*",
    "option-momentum-float32-of-bfloat16",
    "option-decay-*",
    "option-nonfinite-skip",
    "option-cautious-both",
    "option-clip",
    "option-l2-exact",
    "option-loss-scale-dynamic",
    "option-accumulate-missing",
    "option-clipvalue",
    "option-global-clipnorm-exact",
    "option-ema-overwrite-bfloat16",
    "state-*-options",
    "structure-groups-inherited",
    "structure-groups-*-changed",
    "structure-frozen-by-turns",
    "state-restart-tied",
    "compiled-once",
)


# Where each case, or each of its operations, is compiled by XLA.
SHORT_SAMPLE = (
    "basic-decay",
    "dtype-*float*-heavy-tailed",
    "nonfinite-nan",
    "option-momentum-float32-of-bfloat16",
    "option-decay-schedule",
    "option-nonfinite-skip",
    "option-accumulate-missing",
    "option-ema-overwrite-bfloat16",
    "structure-groups-lr-changed",
    "compiled-once",
)

# A C++ compiler takes seconds for each of these.
TORCH_SAMPLE = (
    "basic-decay",
    "dtype-bfloat16-heavy-tailed",
    "nonfinite-nan",
    "option-nonfinite-skip",
    "compiled-once",
)

# JAX compiles each case too, and is the only other way to run some of them as users do. What
# options do is in tests/jax/test_options.py, every time.
JAX_SAMPLE = (
    *SHORT_SAMPLE,
    "dtype-complex64",
    "basic-normal",
    "betas-*zero",
    "compiled-*",
    "decay-mask",
    "errors-*r",
    "option-correction-8",
    "option-int8-bfloat16",
    "option-nonfinite-raise",
    "option-tanh",
    "recorded-bfloat16",
    "schedule-function",
    "sign-zero-cancel",
    "state-portable-bfloat16",
    "structure-*gradient",
    "structure-empty",
    "structure-inputs-untouched",
    "structure-scalar",
    "structure-strides",
    "subnormal-*",
)
SAMPLES = {
    "jax": JAX_SAMPLE,
    "jax+eager": SHORT_SAMPLE,
    "jax+optax": SHORT_SAMPLE,
    "torch+compile": TORCH_SAMPLE,
}


def ids(*patterns):
    return {case.id for case in select(patterns)}


GROUPS = ids("*-groups", "*-groups-*")
CHANGED_BETAS = {"structure-groups-betas-changed"}
TIED = ids("*-tied", "*-tied-*")
COMPILED = ids("compiled-*")

# What a way to run leaves out, and the framework's reason for it.
ABSENT = {
    # the reference is one function of arrays by name
    "numpy": GROUPS | TIED | COMPILED,
    # a tree of arrays has no second name for one of them; groups are optax's, for its transforms
    "jax": GROUPS | TIED,
    "jax+eager": GROUPS | TIED | COMPILED,
    "mlx": TIED | CHANGED_BETAS,
    # torch lets no compiled step see a gradient of another dtype than its parameter's
    "torch+compile": {
        "dtype-bfloat16-gradient-float32",
        "dtype-float32-gradient-bfloat16",
        "dtype-float16-gradient-float32",
        "dtype-float64-gradient-float32",
    },
    # a compiled function of MLX cannot look at a value
    "mlx+compile": TIED
    | CHANGED_BETAS
    | {"option-nonfinite-raise", "option-nonfinite-raise-first"},
    # an optax transform adds to parameters, and replaces none; its betas are numbers for good
    "jax+optax": TIED
    | CHANGED_BETAS
    | ids("option-ema-overwrite*", "*-correction", "*-correction-*", "state-portable-small"),
}


def run_bitwise(impl, cases):
    pytest.importorskip(impl.partition("+")[0], reason=f"needs the extra {impl!r}")
    report = run(impl, cases, "bitwise")
    assert [str(result) for result in report.cases if result.failed] == []
    absent = {result.id for result in report.cases if result.outcome == UNSUPPORTED}
    assert absent == ABSENT.get(impl, set()) & {case.id for case in cases}
    assert len(report.cases) == len(cases)
    assert report.conforms
    assert (report.subnormals == "flushed") == impl.startswith("jax")


@pytest.mark.parametrize("impl", ["numpy", "torch", "mlx", slow("jax")])
def test_every_case_is_bitwise(impl):
    run_bitwise(impl, list(CASES.values()))


@pytest.mark.parametrize("impl", ["jax", "torch+compile", "jax+eager", "jax+optax", "mlx+compile"])
def test_a_sample_is_bitwise_in_every_other_way_to_run(impl):
    run_bitwise(impl, select(SAMPLES.get(impl, SAMPLE)))


@pytest.mark.slow
@pytest.mark.parametrize("impl", [name for name in BUILT_IN if "+" in name])
def test_every_case_is_bitwise_in_every_other_way_to_run(impl):
    run_bitwise(impl, list(CASES.values()))


PEERS = [
    # lion-pytorch 0.2.5 and optax 0.2.8, with the rules that they break and the mutants they match
    (
        "torch:lion_pytorch:Lion",
        {},
        {"dtype-bfloat16": "rounded-between", "nonfinite-nan": "nan-swallowed"},
        {"basic-normal", "decay-random", "sign-safe-lengths", "betas-defaults"},
    ),
    (
        "optax:optax:lion",
        {},
        {
            "betas-defaults": "decay-by-default",
            "dtype-bfloat16-gradient-float32": "momentum-like-gradient",
        },
        {"basic-normal", "decay-random", "nonfinite-nan", "sign-safe-lengths"},
    ),
    ("optax:optax:lion", {"weight_decay": 0.0}, {}, {"betas-defaults"}),
]


@pytest.mark.parametrize(("impl", "kwargs", "broken", "kept"), PEERS)
def test_what_others_do_is_named(impl, kwargs, broken, kept):
    pytest.importorskip(impl.split(":")[1], reason="needs the extra 'peers'")
    cases = [CASES[name] for name in sorted({*broken, *kept})]
    report = run(impl, cases, "faithful", kwargs=kwargs)
    results = {result.id: result for result in report.cases}
    assert {name for name, result in results.items() if result.failed} == set(broken)
    for name, mutant in broken.items():
        assert mutant in results[name].diagnosis
