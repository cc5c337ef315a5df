"""What counts as an option that is offered, and what as bad input that is refused."""

import json

import pytest

from lion_ports import reference
from lion_ports.config import LionConfig
from lion_ports.conformance.adapters.offering import offers
from lion_ports.conformance.cases import CASES, select
from lion_ports.conformance.execution import run_case
from lion_ports.conformance.runner import run


class Plain:
    def __init__(self, params, lr, maximize=False):
        self.defaults = {"lr": lr, "maximize": maximize}


class Swallowing:
    def __init__(self, params, lr, maximize=False, **kwargs):
        self.defaults = {"lr": lr, "maximize": maximize}


class Keeping(Swallowing):
    """It keeps every word, and heeds whichever it heeds."""

    def __init__(self, params, lr, **kwargs):
        self.defaults = {"lr": lr, **kwargs}


class Choosing(Swallowing):
    """It takes one word of them all."""

    def __init__(self, params, lr, **kwargs):
        super().__init__(params, lr)
        self.param_groups = [{"cautious": kwargs.get("cautious", False), "nonfinite": "propagate"}]


class Forwarding(Plain):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


@pytest.mark.parametrize(
    ("made", "option", "offered"),
    [
        (Plain, "maximize", True),
        (Plain, "cautious", False),
        (Swallowing, "maximize", True),
        (Swallowing, "cautious", False),
        (Swallowing, "kwargs", False),
        (Keeping, "cautious", False),
        (Choosing, "cautious", True),
        (Choosing, "nonfinite", False),
        (Forwarding, "maximize", True),
    ],
)
def test_an_option_that_is_swallowed_is_not_offered(made, option, offered):
    assert offers(made, [["x"]], {"lr": 0.1}, option, True) is offered


TORCH = """
import torch

class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, **kwargs):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, **kwargs})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                g = -p.grad if group.get("maximize") else p.grad
                c = b1 * m + (1 - b1) * g
                p.sub_(group["lr"] * (c.sign() + group["weight_decay"] * p))
                m.mul_(b2).add_((1 - b2) * g)
"""


def test_a_torch_class_that_takes_any_word(conformance, tmp_path):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    (tmp_path / "mine.py").write_text(TORCH)
    cases = [f"--case={name}" for name in ("basic-decay", "option-maximize", "option-cautious")]
    done = conformance("run", "--impl", "torch:mine:Lion", *cases, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "option maximize (option-maximize), option cautious (option-cautious)" in done.stdout
    known = ("--rename", "maximize=maximize")  # whoever writes that knows it
    done = conformance("run", "--impl", "torch:mine:Lion", *known, *cases, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "not offered: option cautious (option-cautious)" in done.stdout
    unknown = ("--level", "bitwise", "--case", "errors-unknown-setting")
    done = conformance("run", "--impl", "torch:mine:Lion", *unknown, cwd=tmp_path)
    assert "not refused: weight_decy=0.1" in done.stdout


COMPLEX = ["run", "--impl", "torch:mine:Lion"]
COMPLEX += ["--case", "basic-decay", "--case", "dtype-complex64*"]


def test_a_torch_class_may_say_that_it_takes_no_complex_parameters(conformance, tmp_path):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    raised = "if p.is_complex(): raise UnsupportedError('dtype complex64')"
    loop = "for p in group['params']: "
    text = TORCH.replace("b1, b2 = ", f"{loop}\n{' ' * 16}{raised}\n{' ' * 12}b1, b2 = ")
    imported = "from lion_ports.conformance.protocol import UnsupportedError\n"
    (tmp_path / "mine.py").write_text(imported + text)
    done = conformance(*COMPLEX, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "not offered: dtype complex64" in done.stdout


def test_an_error_of_torch_with_complex_parameters_can_be_expected(conformance, tmp_path):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    (tmp_path / "mine.py").write_text(TORCH)
    (tmp_path / "known.toml").write_text(
        '[[xfail]]\nimpl = "torch:mine:Lion"\nreason = "no sign of complex numbers"\n'
        'cases = ["dtype-complex64", "dtype-complex64-parts"]\noutcome = "ERROR"\n'
    )
    done = conformance(
        *COMPLEX, "--expect", "known.toml", "--json", tmp_path / "out.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout
    (report,) = json.loads((tmp_path / "out.json").read_text())["implementations"]
    expected = [case["detail"] for case in report["cases"] if case["outcome"] == "XFAIL"]
    assert len(expected) == 2
    assert all("torch.sign is not intended to support complex" in detail for detail in expected)


class Mine:
    """It refuses what the specification has refused, with an exception of its own."""

    class RefusedError(Exception):
        pass

    def construct(self, params, settings, mask):
        self.x, self.settings = dict(params), settings
        try:
            self.config = LionConfig.from_options(settings)
            self.state = reference.init(params, self.config)
        except Exception as error:
            raise self.RefusedError from error

    def step(self, grads, lr):
        self.x, self.state = reference.step(self.x, grads, self.state, self.config, lr=lr)

    def params(self):
        return self.x


class AlwaysRefusing(Mine):
    def construct(self, params, settings, mask):
        raise ValueError("no")


class NeverStepping(Mine):
    def construct(self, params, settings, mask):
        self.x = dict(params)

    def step(self, grads, lr):
        raise ValueError("no")


class WithoutDecay(Mine):
    """It refuses each weight decay, right or wrong."""

    def construct(self, params, settings, mask):
        if "weight_decay" in settings:
            raise ValueError("no")
        super().construct(params, settings, mask)


class Moving(Mine):
    def construct(self, params, settings, mask):
        self.x = {name: x + 1 for name, x in params.items()}
        super().construct(params, settings, mask)

    def params(self):
        return {name: x + 1 for name, x in self.x.items()}


class Accepting(Mine):
    def construct(self, params, settings, mask):
        self.x = dict(params)

    def step(self, grads, lr):
        pass


ERRORS = select(("errors-*",))


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.id)
def test_an_exception_of_any_class_is_a_refusal(case):
    assert run_case(case, Mine, "bitwise").outcome == "EXACT"


@pytest.mark.parametrize("made", [AlwaysRefusing, NeverStepping])
@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.id)
def test_who_refuses_everything_has_refused_nothing(case, made):
    result = run_case(case, made, "faithful")
    assert result.outcome == "ERROR"
    assert "ValueError: no" in result.detail


def test_the_right_value_of_the_same_setting_has_to_come_through():
    assert run_case(CASES["errors-negative-lr"], WithoutDecay, "faithful").outcome == "EXACT"
    assert run_case(CASES["errors-negative-decay"], WithoutDecay, "faithful").outcome == "ERROR"


@pytest.mark.parametrize(
    ("made", "words"), [(Accepting, "lr=-1.0"), (Moving, "lr=-1.0 before anything moves")]
)
def test_what_is_not_refused_fails_bitwise_and_is_not_offered_otherwise(made, words):
    case = CASES["errors-negative-lr"]
    strict, lenient = run_case(case, made, "bitwise"), run_case(case, made, "faithful")
    assert (strict.outcome, strict.detail) == ("FAIL", f"not refused: {words}")
    assert (lenient.outcome, lenient.detail) == ("UNSUPPORTED", f"refusing {words}")


def test_a_dtype_to_cast_to_is_no_code_of_8_bits():
    """optax' mu_dtype takes int8, and would store zeros."""
    pytest.importorskip("optax", reason="needs the extra 'jax'")
    report = run("optax:optax:lion", select(("option-int8-float32",)), "faithful")
    assert [case.outcome for case in report.cases] == ["UNSUPPORTED"]
    assert 'momentum_dtype="int8"' in report.cases[0].detail
