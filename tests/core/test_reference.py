"""The NumPy reference against exact rational arithmetic, and its rules one by one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lion_ports import DtypeError, LionConfig, NonFiniteError, reference
from lion_ports.config import Scalars
from lion_ports.conformance import exact, exact_options
from lion_ports.conformance.bits import DTYPES, same

REALS = ["float32", "bfloat16", "float16", "float64"]
BITS = {2: 16, 4: 32, 8: 64}
EXAMPLES = [150, pytest.param(1000, marks=pytest.mark.slow)]


def element(dtype: str) -> st.SearchStrategy:
    """Any bit pattern of a dtype, often near zero, one, infinity and each other's magnitude."""
    size = BITS[DTYPES[dtype].itemsize]
    patterns = st.integers(0, 2**size - 1).map(
        lambda bits: np.array([bits], f"u{size // 8}").view(DTYPES[dtype])
    )
    usual = st.floats(-4, 4, width=16).map(lambda value: np.array([value]).astype(DTYPES[dtype]))
    return st.one_of(patterns, usual)


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("momentum", [None, "float32", "bfloat16"])
@pytest.mark.parametrize("dtype", REALS)
def test_reference_equals_exact_rationals(dtype, momentum, examples):
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(st.data())
    def check(data):
        stored = momentum or dtype
        x, g = data.draw(element(dtype)), data.draw(element(dtype))
        m = data.draw(element(stored))
        lr = data.draw(st.sampled_from([0.0, 1e-4, 2.0**-6, 0.3, 1e-42, 5.0]))
        betas = data.draw(st.sampled_from([(0.9, 0.99), (0.95, 0.98), (0.0, 0.5), (0.99, 0.9)]))
        wd = data.draw(st.sampled_from([0.0, 0.1, 1.0, 3e-5]))
        new_x, new_m = reference.lion_update(x, g, m, Scalars(lr, *betas, wd))
        due_x, due_m = exact.lion(
            float(x[0]), float(g[0]), float(m[0]),
            lr=lr, betas=betas, wd=wd, parameter=dtype, momentum=stored,
        )  # fmt: skip
        assert same(new_x, np.array([due_x]).astype(DTYPES[dtype])).all(), (new_x, due_x)
        assert same(new_m, np.array([due_m]).astype(DTYPES[stored])).all(), (new_m, due_m)

    check()


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("dtype", REALS)
def test_options_equal_exact_rationals(dtype, examples):
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(st.data())
    def check(data):
        count = data.draw(st.integers(1, 7))
        numbers = st.lists(st.floats(-4, 4, width=16), min_size=count, max_size=count)
        x, m = (data.draw(numbers) for _ in range(2))
        micro = [data.draw(numbers) for _ in range(data.draw(st.sampled_from([1, 1, 2, 3])))]
        draw = {
            "lr_peak": [None, 1e-2, 3.0],
            "slope": [None, None, 0.3, 4.0],
            "cap": [None, 1.0, 10.0],
            "cautious_decay": [False, True],
            "loss_scale": [None, 1000.0, 2.0**14],
            "clipvalue": [None, 0.3],
            "wd": [0.0, 0.1, 3.0],
        }
        on = {name: data.draw(st.sampled_from(values)) for name, values in draw.items()}
        config = LionConfig(
            lr=1e-2,
            weight_decay=on["wd"],
            decay="coupled" if on["lr_peak"] is None else "independent",
            lr_peak=on["lr_peak"],
            nonlinearity="sign" if on["slope"] is None else "clip",
            steepness=on["slope"] or 1.0,
            cautious=on["cap"] is not None,
            cautious_cap=on["cap"] or 10.0,
            cautious_decay=on["cautious_decay"],
            loss_scale=on["loss_scale"],
            clipvalue=on["clipvalue"],
            gradient_accumulation_steps=len(micro),
            ema_decay=0.9,
        )

        def array(values):
            return np.array(values).astype(DTYPES[dtype])

        params = {"x": array(x)}
        state = reference.init(params, config)._replace(momentum={"x": array(m)})
        for g in micro:
            new, state = reference.step(params, {"x": array(g)}, state, config)
        stored = [array(g).astype(float).tolist() for g in micro]
        due = exact_options.effective(
            stored, parameter=dtype, loss_scale=on["loss_scale"], clipvalue=on["clipvalue"]
        )
        xs, ms = (array(v).astype(float).tolist() for v in (x, m))
        rest = {name: on[name] for name in ("wd", "lr_peak", "slope", "cap", "cautious_decay")}
        due_x, due_m = exact_options.updated(
            xs, due, ms, lr=1e-2, betas=(0.9, 0.99), parameter=dtype, **rest
        )
        due_e = exact_options.averaged(xs, due_x, 0.9, parameter=dtype)
        wide = np.float64 if dtype == "float64" else np.float32
        # The sign of a zero is left to the rules of IEEE 754, which fractions do not have.
        assert np.array_equal(new["x"], array(due_x))
        assert np.array_equal(state.momentum["x"], array(due_m))
        assert np.array_equal(state.average["x"], np.array(due_e, wide))

    check()


def test_exact_rounds_ties_to_even_and_keeps_the_sign_of_underflow():
    half_ulp = 1 + 2.0**-8
    assert exact.store(half_ulp, exact.FORMATS["bfloat16"]) == 1.0
    assert exact.store(half_ulp + 2.0**-7, exact.FORMATS["bfloat16"]) == 1 + 2.0**-6
    assert math.copysign(1, exact.multiply(-1e-40, 1e-40, exact.FORMATS["float32"])) == -1
    assert exact.store(65520.0, exact.FORMATS["float16"]) == math.inf
    assert exact.store(65519.0, exact.FORMATS["float16"]) == 65504.0


def test_storing_float64_in_bfloat16_rounds_once():
    just_above_a_tie = np.array([1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8, -1 - 2.0**-8 - 2.0**-40])
    stored = reference.narrow(just_above_a_tie, DTYPES["bfloat16"])
    assert stored.astype(float).tolist() == [1 + 2.0**-7, 1.0, -1 - 2.0**-7]


def test_flushing_replaces_subnormals_before_and_after_each_operation():
    tiny = np.float32([2.0**-130, -(2.0**-130), 2.0**-126])
    x = np.zeros(3, np.float32)
    kept, _ = reference.lion_update(x, tiny, x, Scalars(0.5, 0.9, 0.99, 0.0))
    flushed, m = reference.lion_update(x, tiny, x, Scalars(0.5, 0.9, 0.99, 0.0), flush=True)
    assert kept.tolist() == [-0.5, 0.5, -0.5]
    assert flushed.tolist() == [0.0, 0.0, 0.0]
    assert m.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.uint8])
def test_integer_parameters_are_refused(dtype):
    with pytest.raises(DtypeError, match=f"x has dtype {np.dtype(dtype).name}"):
        reference.init({"x": np.ones(2, dtype)}, LionConfig())


def test_a_parameter_without_a_gradient_is_left_alone():
    config = LionConfig(lr=0.5, weight_decay=0.5)
    params = {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}
    new, state = reference.step(
        params, {"a": None, "b": np.ones(2, np.float32)}, reference.init(params, config), config
    )
    assert new["a"] is params["a"]
    assert not state.momentum["a"].any()
    assert new["b"].tolist() == [0.25, 0.25]


def test_schedules_are_evaluated_at_the_updates_done_before():
    seen = []
    config = LionConfig(lr=lambda count: seen.append(count) or 0.5)
    params = {"x": np.ones(1, np.float32)}
    state = reference.init(params, config)
    for _ in range(3):
        params, state = reference.step(params, {"x": np.ones(1, np.float32)}, state, config)
    assert seen == [0, 1, 2]
    assert params["x"].tolist() == [-0.5]


def test_nonfinite_skip_counts_and_raise_names():
    params = {"x": np.ones(1, np.float32), "y": np.ones(1, np.float32)}
    grads = {"x": np.float32([math.nan]), "y": np.float32([1])}
    skip = LionConfig(nonfinite="skip")
    new, state = reference.step(params, grads, reference.init(params, skip), skip)
    assert (state.count, state.skipped) == (0, 1)
    assert new == params
    stop = LionConfig(nonfinite="raise")
    with pytest.raises(NonFiniteError, match="the gradient of x has NaN") as error:
        reference.step(params, grads, reference.init(params, stop), stop)
    assert error.value.names == ("x",)


def test_inputs_are_not_written_to():
    rng = np.random.Generator(np.random.Philox(1))
    arrays = [rng.standard_normal(9).astype(np.float32) for _ in range(3)]
    for array in arrays:
        array.setflags(write=False)
    before = [array.copy() for array in arrays]
    reference.lion_update(*arrays, Scalars(0.1, 0.9, 0.99, 0.1))
    assert all((a == b).all() for a, b in zip(arrays, before, strict=True))
