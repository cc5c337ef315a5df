"""Level trajectory, and a momentum that cannot be seen: what is consistent passes, nothing else."""

import textwrap
from functools import cache

import numpy as np
import pytest

from lion_ports import LionConfig
from lion_ports.conformance.cases import CASES
from lion_ports.conformance.cases.streams import f32, normal, normal_stream, steps, vector_steps
from lion_ports.conformance.execution import replay, run_case
from lion_ports.conformance.mutants import MUTANTS
from lion_ports.conformance.rewritings import all_rewritings, rewriting
from lion_ports.conformance.trajectory import AGREEMENT, judge_trajectory
from lion_ports.conformance.trial import Snapshot, Trial, generator
from lion_ports.conformance.variants import Variant, right_update
from lion_ports.conformance.verdict import judge

STREAMS = (
    "basic-normal", "decay-random", "sign-zero-unused-rows", "sign-critical-tie",
    "sign-safe-matrix", "dtype-float32-heavy-tailed", "schedule-every-step", "structure-primes",
    "dtype-bfloat16", "dtype-complex64", "option-accumulate", "option-decay-independent",
)  # fmt: skip
SMALL = [case for case in CASES.values() if case.category not in ("errors", "long")]


def dynamic_code():
    """The 8-bit code of arXiv 2110.02861, appendix: a sign, an exponent, and linear steps."""
    positive = [0.0, 1.0]
    for exponent in range(7):
        ends = np.linspace(0.1, 1, 2**exponent + 1)
        positive += list((ends[:-1] + ends[1:]) / 2 * 10.0 ** (exponent - 6))
    return np.array(sorted({*positive, *(-v for v in positive)}))


def nearest(values, code):
    right = np.clip(np.searchsorted(code, values), 1, len(code) - 1)
    below, above = code[right - 1], code[right]
    return np.where(values - below < above - values, below, above)


RANDOM = generator(70)
CODES = {
    "linear": lambda v: np.round(v * 127) / 127,
    "stochastic": lambda v: np.floor(v * 127 + RANDOM.random(v.shape)) / 127,
    "dynamic": lambda v: nearest(v, dynamic_code()),
}


def stored(m, code, block=64):
    """A momentum that went through 8 bits, in blocks that are scaled to their largest."""
    if m.dtype.kind == "c":
        return (stored(m.real, code) + 1j * stored(m.imag, code)).astype(m.dtype)
    flat = m.reshape(-1).astype(np.float64)
    for i in range(0, flat.size, block):
        part = flat[i : i + block]
        scale = np.max(np.abs(part))
        if scale > 0 and np.isfinite(scale):
            flat[i : i + block] = code(part / scale) * scale
    return flat.reshape(m.shape).astype(m.dtype)


def quantised(code, spoil=lambda m: m):
    def update(lion, name, x, g, m, scalars):
        new_x, new_m = right_update(lion, name, x, g, m, scalars)
        return new_x, spoil(stored(np.asarray(new_m), code))

    return lambda: Variant(update=update)


@cache
def trial(case_id):
    return CASES[case_id].build()


def finding(make, case_id):
    return judge_trajectory(trial(case_id), replay(make, trial(case_id))[0]).faithful


@pytest.mark.parametrize("case_id", STREAMS)
@pytest.mark.parametrize("code", CODES)
def test_eight_bit_states_pass(code, case_id):
    result = run_case(CASES[case_id], quantised(CODES[code]), "trajectory")
    assert not result.failed, result.detail


def test_they_do_not_pass_as_faithful():
    assert run_case(CASES["basic-normal"], quantised(CODES["linear"]), "faithful").failed


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES)
def test_eight_bit_states_pass_every_case(code):
    cases = [case for case in CASES.values() if case.category != "errors"]
    results = [run_case(case, quantised(CODES[code]), "trajectory") for case in cases]
    assert [(r.id, r.detail) for r in results if r.failed] == []


SPOILT = {
    "the scale is half of what it was": lambda m: m / 2,
    "the code has lost its sign": np.abs,
    "the blocks are mixed up": lambda m: np.roll(m, 1),
    "nothing is stored": np.zeros_like,
}


@pytest.mark.parametrize("words", SPOILT)
def test_eight_bit_states_that_contradict_themselves_fail(words):
    make = quantised(CODES["linear"], SPOILT[words])
    found = finding(make, "sign-safe-matrix")
    assert found is not None
    assert "the parameter came as" in str(found)


# What can be told from the parameters alone, by a stream on which they differ.
TOLD = {
    "betas-swapped": "basic-normal",
    "sign-of-gradient": "basic-normal",
    "sign-of-momentum": "basic-normal",
    "nesterov-twice": "basic-normal",
    "complement-missing": "basic-normal",
    "direction-kept": "basic-normal",
    "betas-of-adam": "basic-normal",
    "momentum-first": "basic-normal",
    "clipped": "basic-normal",
    "maximize": "basic-normal",
    "step-added": "basic-normal",
    "sign-zero-plus": "sign-zero-unused-rows",
    "decay-missing": "decay-random",
    "decay-coupled": "decay-random",
    "decay-after": "decay-strong",
    "lr-stale": "schedule-every-step",
    "first-step-skipped": "basic-normal",
    "last-block-missing": "structure-primes",
    "no-op": "basic-normal",
    "signsgd": "basic-normal",
    "adamw": "basic-normal",
}


@pytest.mark.parametrize("name", TOLD)
def test_wrong_lions_fail_though_their_momentum_is_hidden(name):
    assert finding(MUTANTS[name].make, TOLD[name]) is not None


def test_a_move_that_no_momentum_explains_is_shown_with_what_was_allowed():
    case = "sign-safe-matrix"
    observed, _ = replay(quantised(CODES["linear"]), trial(case))
    assert judge_trajectory(trial(case), observed).faithful is None
    x = observed[-1].params["matrix"]
    before = observed[-2].params["matrix"]
    x[0, 0] = before[0, 0] - (x[0, 0] - before[0, 0])  # the other way, once
    found = judge_trajectory(trial(case), observed).faithful
    assert found is not None
    assert (found.parameter, found.index, found.step) == ("matrix", (0, 0), len(observed) - 1)


def test_directions_that_rarely_agree_fail_as_a_whole(monkeypatch):
    monkeypatch.setattr("lion_ports.conformance.trajectory.faithfully", lambda *a, **k: (None, 0))
    shapes = {"x": (64,)}
    stream = steps(normal_stream(72, shapes, 50), 2.0**-6)
    long = Trial(normal(72, shapes), stream, LionConfig(lr=2.0**-6, weight_decay=0.1))
    wrong = judge_trajectory(long, replay(MUTANTS["sign-of-gradient"].make, long)[0]).faithful
    assert wrong is not None
    assert wrong.what == "the agreement of 3200 directions with those of the reference"
    assert wrong.allowed == f"at least {AGREEMENT}"
    right = quantised(CODES["linear"])
    assert judge_trajectory(long, replay(right, long)[0]).faithful is None


@pytest.mark.parametrize(("second", "passes"), [(-1, True), (1, False)])
def test_every_move_narrows_what_a_hidden_momentum_can_be(second, passes):
    """The last move, -1, needs a momentum below -0.013.

    After the first step it is 0.005, and 0.01 less or more by storage, for the other element's is
    1.27. A move of +1 at the second says that it was above 0, so that it cannot be so low at the
    third; a move of -1 leaves that open.
    """
    grads = [f32(127, 0.5), f32(0, -0.001), f32(0, 0.12)]
    short = Trial({"x": f32(0, 0)}, vector_steps(grads, 0.25), LionConfig(lr=0.25))
    moves = np.cumsum([f32(0, 0), f32(1, 1), f32(1, second), f32(1, -1)], axis=0)
    x = f32(0, 0) - np.float32(0.25) * moves
    found = judge_trajectory(short, [Snapshot({"x": row}, None) for row in x]).faithful
    assert (found is None) == passes
    if found is not None:
        assert (found.step, found.index) == (3, (1,))


def hide(run):
    return run and [snapshot._replace(momentum=None) for snapshot in run]


def drawn(count):
    combinations = list(all_rewritings())
    return [combinations[i] for i in generator(71).permutation(len(combinations))[:count]]


FIRST, *OTHERS = drawn(3)


@pytest.mark.parametrize(
    "parts",
    [FIRST, *(pytest.param(parts, marks=pytest.mark.slow) for parts in OTHERS)],
    ids="+".join,
)
def test_no_right_rewriting_fails_where_its_momentum_is_hidden(parts):
    for case in SMALL:
        observed, uninterrupted = map(hide, replay(lambda: rewriting(*parts), trial(case.id)))
        for verdict in (judge, judge_trajectory):
            found = verdict(trial(case.id), observed, uninterrupted=uninterrupted).faithful
            assert found is None, (case.id, str(found))


def test_the_command_takes_the_level(conformance, tmp_path):
    source = """
        import numpy as np
        from lion_ports import reference

        class Int8:
            def start(self, params, config):
                self.config, self.x = config, dict(params)
                self.state = reference.init(params, config)

            def step(self, grads, lr):
                self.x, state = reference.step(self.x, grads, self.state, self.config, lr=lr)
                momentum = {n: self.through_int8(m) for n, m in state.momentum.items()}
                self.state = state._replace(momentum=momentum)

            def through_int8(self, m):
                scale = np.max(np.abs(m), initial=0) or 1
                return (np.round(m / scale * 127).astype(np.int8) * (scale / 127)).astype(m.dtype)

            def params(self):
                return self.x

            def momentum(self):
                return None
    """
    (tmp_path / "mine.py").write_text(textwrap.dedent(source))
    target = ["run", "--impl", "python:mine:Int8", "--case", "basic-*", "--case", "sign-safe-*"]
    for level, status in (("trajectory", 0), ("faithful", 1)):
        done = conformance(*target, "--level", level, cwd=tmp_path)
        assert done.returncode == status, done.stdout + done.stderr
        assert f"level {level}" in done.stdout
