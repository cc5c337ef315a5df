"""keras:MODULE:CLASS targets, on the torch and the JAX backend of Keras."""

import json
import textwrap
from importlib.util import find_spec

import pytest

# Not importorskip: to import Keras without a backend fails where it is installed, too.
pytestmark = pytest.mark.skipif(find_spec("keras") is None, reason="needs the extra 'peers'")


@pytest.fixture
def run(conformance, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # not the user's settings

    def run(target, *arguments, backend=None):
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
        if backend is not None:
            monkeypatch.setenv("KERAS_BACKEND", backend)
        done = conformance("run", "--impl", target, "--json", "out.json", *arguments, cwd=tmp_path)
        assert "Traceback" not in done.stdout + done.stderr
        if done.returncode == 2:
            return done, None, {}
        (report,) = json.loads((tmp_path / "out.json").read_text())["implementations"]
        return done, report, {case["id"]: case for case in report["cases"]}

    return run


def cases(*patterns):
    return [word for pattern in patterns for word in ("--case", pattern)]


SAME = (
    "basic-*", "decay-random", "decay-mask", "betas-defaults", "schedule-every-step",
    "option-clipvalue", "option-global-clipnorm-exact", "option-accumulate", "option-loss-scale",
    "state-restart-float32", "structure-late-gradient",
)  # fmt: skip
DIFFERENT = {"dtype-bfloat16": "L-005", "option-ema": "L-029"}
ABSENT = {
    "option-maximize": "option maximize",
    "option-cautious": "option cautious",
    "option-tanh": "option nonlinearity",
    "option-momentum-bfloat16-of-float32": "option momentum_dtype",
    "option-nonfinite-skip": "option nonfinite",
    "option-loss-scale-dynamic": "a dynamic loss scale of the optimizer itself",
    "state-portable-float32": "portable state",
}


@pytest.mark.parametrize("backend", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_the_lion_of_keras_with_its_options_and_what_it_lacks(run, backend):
    pytest.importorskip(backend, reason=f"needs the extra {backend!r}")
    chosen = cases(*SAME, *DIFFERENT, *ABSENT)
    done, report, found = run("keras:keras.optimizers:Lion", *chosen, backend=backend)
    assert done.returncode == 1
    assert report["version"].endswith(f" on {backend}")
    assert report["version"][0].isdigit()
    failed = {name: case["rule"] for name, case in found.items() if case["outcome"] == "FAIL"}
    assert failed == DIFFERENT
    absent = {n: case["detail"] for n, case in found.items() if case["outcome"] == "UNSUPPORTED"}
    assert absent == ABSENT
    passed = set(found) - set(DIFFERENT) - set(ABSENT)
    assert {found[name]["outcome"] for name in passed} <= {"EXACT", "ULP", "BOUNDED", "AMBIGUOUS"}


MINE = textwrap.dedent("""
    import keras
    from keras import ops

    class Lion(keras.optimizers.Optimizer):
        def __init__(self, rate=1e-4, beta_1=0.9, beta_2=0.99, sign=1.0, **options):
            super().__init__(learning_rate=rate, **options)
            self.beta_1, self.beta_2, self.sign = beta_1, beta_2, sign

        def build(self, variables):
            if not self.built:
                super().build(variables)
                self.m = self.add_optimizer_variables(variables, "momentum")

        def update_step(self, gradient, variable, learning_rate):
            lr = ops.cast(learning_rate, variable.dtype)
            m = self.m[self._get_variable_index(variable)]
            c = self.beta_1 * m + (1 - self.beta_1) * gradient
            self.assign_sub(variable, self.sign * lr * ops.sign(c))
            self.assign(m, self.beta_2 * m + (1 - self.beta_2) * gradient)

    def not_a_class(rate):
        raise RuntimeError("no optimizer today")
""")


def test_a_class_of_ones_own_with_other_names_on_torch_by_default(run, tmp_path):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    (tmp_path / "mine.py").write_text(MINE)
    target = ("keras:mine:Lion", "--rename", "lr=rate")
    done, report, found = run(*target, *cases("basic-*", "option-maximize"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["version"] == "local on torch"
    assert found["option-maximize"]["outcome"] == "UNSUPPORTED"
    done, _, found = run(*target, "--kwarg", "sign=-1.0", *cases("basic-first-step"))
    assert done.returncode == 1
    assert "behaves as `step-added`" in done.stdout


def test_an_exception_is_a_result(run, tmp_path):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    (tmp_path / "mine.py").write_text(MINE)
    done, _, found = run("keras:mine:not_a_class", *cases("basic-first-step"))
    assert done.returncode == 1
    assert found["basic-first-step"]["outcome"] == "ERROR"


@pytest.mark.parametrize(
    ("target", "backend", "more", "words"),
    [
        ("keras.optimizers:Lion", "tensorflow", (), "the suite drives Keras on torch and on jax"),
        ("keras.optimizers:Leo", "torch", (), "no class or function 'Leo'"),
        ("keras.optimizers:Lion", "torch", ("--device", "cuda"), "--device cuda does not apply"),
        ("Lion", "torch", (), "nor KIND:MODULE:NAME"),
    ],
)
def test_what_is_not_there_is_refused_in_one_sentence(run, target, backend, more, words):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    done, _, _ = run(f"keras:{target}", *more, backend=backend)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
