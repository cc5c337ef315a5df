"""Each comparison fails where it should: one ulp, one bit, one dtype, one name away."""

import math

import numpy as np
import pytest

from lion_ports.config import LionConfig
from lion_ports.conformance.bits import DTYPES, reals, same, ulps
from lion_ports.conformance.cases import CASES
from lion_ports.conformance.observation import observe
from lion_ports.conformance.trial import Snapshot, Step, Trial
from lion_ports.conformance.variants import Variant
from lion_ports.conformance.verdict import judge, reference_run

TRIAL = CASES["basic-normal"].build()


def changed(snapshots, i, what, name, change):
    """The snapshots with one array of snapshot i replaced by change(array)."""
    snapshots = list(snapshots)
    arrays = dict(getattr(snapshots[i], what))
    arrays[name] = change(arrays[name].copy())
    snapshots[i] = snapshots[i]._replace(**{what: arrays})
    return snapshots


def nudge(by, at=(0, 0)):
    def change(array):
        array[at] += np.asarray(by, array.dtype)
        return array

    return change


def test_the_reference_passes_both_verdicts():
    judgement = judge(TRIAL, reference_run(TRIAL))
    assert (judgement.bitwise, judgement.faithful, judgement.max_ulp) == (None, None, 0)


@pytest.mark.parametrize("what", ["params", "momentum"])
def test_one_ulp_fails_bitwise_and_not_faithful(what):
    def change(array):
        array[0, 0] = np.nextafter(array[0, 0], np.float32(np.inf))
        return array

    judgement = judge(TRIAL, changed(reference_run(TRIAL), -1, what, "weight", change))
    assert judgement.bitwise.step == len(TRIAL.steps)
    assert judgement.bitwise.index == (0, 0)
    assert judgement.faithful is None
    assert judgement.max_ulp == 1


@pytest.mark.parametrize("fraction", [1.0, 0.25, 1e-3])
def test_a_small_part_of_a_step_fails_faithful(fraction):
    off = changed(reference_run(TRIAL), 3, "params", "weight", nudge(fraction * TRIAL.config.lr))
    finding = judge(TRIAL, off).faithful
    assert (finding.step, finding.parameter, finding.index) == (3, "weight", (0, 0))
    assert dict(finding.inputs).keys() == {"x", "g", "m", "lr", "wd"}


def test_a_small_part_of_the_momentum_fails_faithful():
    def change(array):
        array[0, 0] *= 1 + 2.0**-16
        return array

    finding = judge(TRIAL, changed(reference_run(TRIAL), 3, "momentum", "weight", change)).faithful
    assert finding.what == "the momentum"


@pytest.mark.parametrize("what", ["params", "momentum"])
def test_another_dtype_or_shape_or_a_missing_name_fails_both(what):
    for change in (lambda a: a.astype(np.float64), lambda a: a[:-1]):
        judgement = judge(TRIAL, changed(reference_run(TRIAL), 2, what, "weight", change))
        assert judgement.bitwise is judgement.faithful is not None
        assert judgement.faithful.step == 2
    snapshots = reference_run(TRIAL)
    arrays = dict(getattr(snapshots[1], what))
    del arrays["bias"]
    snapshots[1] = snapshots[1]._replace(**{what: arrays})
    assert judge(TRIAL, snapshots).faithful.came == "nothing"


@pytest.mark.parametrize("what", ["params", "momentum"])
def test_a_wrong_start_fails_both(what):
    judgement = judge(TRIAL, changed(reference_run(TRIAL), 0, what, "weight", nudge(2.0**-20)))
    assert judgement.bitwise is judgement.faithful is not None
    assert judgement.faithful.step == 0


def test_a_wrong_sign_fails_far_from_zero_and_is_ambiguous_at_it():
    far = Trial({"x": np.float32([1])}, [Step({"x": np.float32([1])}, 0.5)], LionConfig(lr=0.5))
    wrong = changed(reference_run(far), 1, "params", "x", lambda x: np.float32([1.5]))
    assert judge(far, wrong).faithful is not None
    near = CASES["sign-critical-tie"].build()
    snapshots = reference_run(near)
    lr = near.steps[1].lr
    for s in (-1, 0, 1):
        moved = (snapshots[1].params["x"] - np.float32(s * lr)).astype(np.float32)
        flipped = changed(snapshots, 2, "params", "x", lambda x, moved=moved: moved)
        judgement = judge(near, flipped)
        assert judgement.faithful is None
        assert judgement.ambiguous > 4000
    half = (snapshots[1].params["x"] - np.float32(0.5 * lr)).astype(np.float32)
    assert judge(near, changed(snapshots, 2, "params", "x", lambda x: half)).faithful is not None


def test_zero_gradients_on_zero_momentum_allow_no_sign_at_all():
    x = np.float32([1])
    trial = Trial({"x": x}, [Step({"x": np.float32([0])}, 2.0**-20)], LionConfig(lr=2.0**-20))
    moved = changed(reference_run(trial), 1, "params", "x", lambda x: x - np.float32(2.0**-20))
    assert judge(trial, moved).faithful is not None


def test_a_finite_answer_to_nan_fails():
    trial = CASES["nonfinite-nan"].build()
    finite = changed(reference_run(trial), 1, "params", "x", lambda x: np.nan_to_num(x, nan=1.0))
    assert "nan" in judge(trial, finite).faithful.allowed


def test_bfloat16_allows_only_the_rounded_result():
    trial = CASES["dtype-bfloat16"].build()
    exact = reference_run(trial)

    def change(array):
        bits = array.view(np.int16)
        bits[0, 0] += 1
        return array

    assert judge(trial, changed(exact, 1, "params", "weight", change)).faithful is not None
    assert judge(trial, changed(exact, 1, "momentum", "weight", change)).faithful is not None


def test_a_hidden_momentum_is_followed_from_the_gradients():
    visible = observe(Variant, TRIAL)
    hidden = [Snapshot(snapshot.params, None) for snapshot in visible]
    assert judge(TRIAL, hidden).faithful is None
    wrong = changed(hidden, 15, "params", "weight", nudge(2 * TRIAL.config.lr))
    assert judge(TRIAL, wrong).faithful.step == 15


def test_flushing_is_allowed_only_where_it_is_declared():
    trial = CASES["subnormal-gradient"].build()
    flushed = reference_run(trial, flush=True)
    assert judge(trial, flushed, flush=True).bitwise is None
    assert judge(trial, flushed).bitwise is not None
    assert judge(trial, flushed).faithful is not None


def test_bits_are_compared_with_signs_of_zero_and_without_payloads_of_nan():
    zeros = np.float32([0.0, -0.0])
    assert same(zeros, zeros[::-1]).tolist() == [False, False]
    nans = np.array([0x7FC00000, 0xFFC00001], np.uint32).view(np.float32)
    assert same(nans, nans[::-1]).all()
    assert not same(nans, zeros).any()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_ulps_counts_representable_numbers(dtype):
    one = np.array([1.0]).astype(DTYPES[dtype])
    integers = one.view(f"i{one.dtype.itemsize}")
    next_one = (integers + 3).view(one.dtype)
    assert ulps(one, next_one) == 3
    tiny = np.array([1], integers.dtype).view(one.dtype)
    assert ulps(tiny, -tiny) == 2
    assert ulps(one, np.array([math.nan]).astype(one.dtype)) > 3


def test_complex_arrays_are_judged_part_by_part():
    assert reals(np.complex64([1 + 2j])).tolist() == [[1.0, 2.0]]
    trial = CASES["dtype-complex64"].build()
    off = changed(reference_run(trial), 1, "params", "weight", nudge(1j * trial.config.lr))
    assert judge(trial, off).faithful.index == (0, 0, 1)
