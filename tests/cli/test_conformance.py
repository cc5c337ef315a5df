"""lion-conformance as a stranger uses it, on optimizers written in a folder of their own."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import jsonschema
import pytest

import lion_ports.conformance.runner as runner
from lion_ports.conformance.cases import CASES, select

SCHEMA = json.loads((Path(__file__).parents[2] / "conformance" / "report.schema.json").read_text())

LOCAL = '''
class Loud(Mine):
    def start(self, params, config):
        print("words on stdout do no harm")
        super().start(params, config)

class Hidden(Mine):
    def momentum(self):
        return None

class Coupled(Mine):
    """Weight decay in the gradient."""

    def step(self, grads, lr):
        wd = self.config.weight_decay
        grads = {n: None if g is None else g + type(g.flat[0])(wd) * self.x[n] if g.size else g
                 for n, g in grads.items()}
        wd, config = 0.0, LionConfig(betas=self.config.betas)
        self.x, self.state = reference.step(self.x, grads, self.state, config, lr=lr)

class Careless(Mine):
    """It knows no caution, and offers no average."""

    def start(self, params, config):
        if config.ema_decay is not None:
            from lion_ports.conformance.protocol import UnsupportedError
            raise UnsupportedError("option ema_decay")
        from dataclasses import replace
        super().start(params, replace(config, cautious=False, cautious_cap=10.0))

class Greedy(Mine):
    def step(self, grads, lr):
        super().step(grads, lr)
        for g in grads.values():
            if g is not None:
                g[...] = 0

class Crashing(Mine):
    def step(self, grads, lr):
        os.abort()

class Hanging(Mine):
    def step(self, grads, lr):
        time.sleep(60)

class Raising(Mine):
    def step(self, grads, lr):
        raise RuntimeError("no step today")
'''


@pytest.fixture
def folder(tmp_path, mine):
    mine(LOCAL)
    for name in ("cli", "trainers", "conformance"):  # a user's own packages must not disturb
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported by mistake')\n")
    return tmp_path


def python_target(name):
    return ("run", "--impl", f"python:mine:{name}")


def test_list_shows_levels_implementations_and_cases(conformance):
    done = conformance("list")
    assert done.returncode == 0
    for word in ("bitwise", "faithful", "torch+compile", "python:MODULE:FUNCTION", *CASES):
        assert word in done.stdout


def test_help_imports_neither_numpy_nor_a_framework():
    code = (
        "import sys\nfrom lion_ports.cli import conformance\nsys.argv = ['x', 'run', '--help']\n"
        "try: conformance()\nexcept SystemExit: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "torch", "jax", "mlx", "optax"}


def test_the_reference_conforms_bitwise_and_the_report_keeps_its_schema(
    conformance, tmp_path, monkeypatch
):
    for case in [case for case in CASES.values() if case.category == "long"]:
        monkeypatch.delitem(CASES, case.id)  # they are run by test_backends.py
    path = tmp_path / "out.json"
    done = conformance("run", "--impl", "numpy", "--level", "bitwise", "--json", str(path))
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    jsonschema.validate(report, SCHEMA)
    (numpy,) = report["implementations"]
    assert numpy["conforms"]
    assert {case["id"] for case in numpy["cases"]} == set(CASES)
    absent = {case["detail"] for case in numpy["cases"] if case["outcome"] == "UNSUPPORTED"}
    assert absent == {"parameter groups", "tied parameters", "compilation"}
    assert {case["outcome"] for case in numpy["cases"]} == {"EXACT", "UNSUPPORTED"}


@pytest.mark.parametrize("name", ["Loud", "Hidden"])
def test_a_class_in_the_current_directory_conforms(conformance, folder, name):
    done = conformance(*python_target(name), "--case", "basic-*", "--case", "decay-*", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "conforms at level faithful" in done.stdout
    assert "a weight decay mask" in done.stdout
    assert "words on stdout" not in done.stdout


def test_a_wrong_lion_is_named_with_rule_inputs_and_a_command_that_replays(conformance, folder):
    done = conformance(*python_target("Coupled"), "--case", "decay-alone", cwd=folder)
    assert done.returncode == 1
    assert "decay-alone" in done.stdout
    assert "behaves as `decay-coupled`: weight decay enters the gradient" in done.stdout
    assert "breaks L-001 of docs/spec.md" in done.stdout
    line = next(line for line in done.stdout.splitlines() if "x=0x" in line)
    assert all(f" {name}=" in line or f"({name}=" in line for name in ("x", "g", "m", "lr", "wd"))
    replay = next(line for line in done.stdout.splitlines() if "lion-conformance run" in line)
    again = conformance(*replay.split()[1:], cwd=folder)
    assert again.returncode == 1
    assert "decay-alone" in again.stdout


def test_writing_to_a_gradient_is_seen(conformance, folder):
    done = conformance(*python_target("Greedy"), "--case", "structure-inputs-untouched", cwd=folder)
    assert done.returncode == 1
    assert "the gradient was written to" in done.stdout


def test_an_exception_is_a_result_and_the_run_goes_on(conformance, folder):
    words = ("--case", "basic-*", "--json", "out.json")
    done = conformance(*python_target("Raising"), *words, cwd=folder)
    assert done.returncode == 1
    cases = json.loads((folder / "out.json").read_text())["implementations"][0]["cases"]
    assert len(cases) == len(select(("basic-*",)))
    assert all(c["outcome"] == "ERROR" and "no step today" in c["detail"] for c in cases)


def test_a_hanging_implementation_is_stopped(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    cases = select(("basic-first-step", "basic-two-betas"))
    report = runner.run("python:mine:Hanging", cases, "faithful", case_seconds=1)
    assert [case.outcome for case in report.cases] == ["ERROR", "ERROR"]
    assert "no result within 1 s" in report.cases[0].detail


def test_running_no_judged_case_does_not_conform(conformance, folder):
    done = conformance(*python_target("Mine"), "--case", "decay-mask", cwd=folder)
    assert done.returncode == 1
    assert "no case could be judged" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--case", "nothing-*"), "no case matches nothing-*"),
        (("--case", "basic-*", "--case", "typo-*"), "no case matches typo-*"),
        (("--impl", "numpy", "--kwarg", "lr=1"), "do not apply to the reference"),
        (("--impl", "tensorflow"), "neither one of numpy, torch"),
        (("--impl", "python:absent:make"), "the module 'absent' cannot be imported"),
        (("--impl", "python:mine:Absent"), "no class or function 'Absent'"),
        (("--impl", "numpy", "--device", "cuda"), "--device cuda does not apply"),
        (("--impl", "numpy", "--json", "absent/out.json"), "there is no such folder"),
        (("--impl", "numpy", "--kwarg", "foreach"), "'foreach' is not NAME=VALUE"),
        (("--impl", "numpy", "--level", "strict"), "'strict' is not one of"),
    ],
)
def test_wrong_commands_get_one_sentence_and_status_two(conformance, folder, arguments, words):
    done = conformance("run", *arguments, cwd=folder)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


TORCH = textwrap.dedent("""
    import torch

    class Lion(torch.optim.Optimizer):
        def __init__(self, params, learning_rate=1e-4, betas=(0.9, 0.99),
                     weight_decay=0.0, flip=False):
            defaults = dict(lr=learning_rate, betas=betas, weight_decay=weight_decay, flip=flip)
            super().__init__(params, defaults)

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                b1, b2 = group["betas"]
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    m = self.state[p].setdefault("velocity", torch.zeros_like(p))
                    c = m.lerp(p.grad, 1 - b1)
                    u = torch.where(c.isnan(), c, c.sign()) * (-1 if group["flip"] else 1)
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * u)
                    m.lerp_(p.grad, 1 - b2)
""")


def test_a_torch_class_with_other_names_and_an_argument(conformance, tmp_path):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    (tmp_path / "theirs.py").write_text(TORCH)
    target = ("run", "--impl", "torch:theirs:Lion", "--rename", "lr=learning_rate")
    cases = ("--case", "basic-*", "--case", "sign-*", "--case", "betas-*", "--case", "decay-[ars]*")
    right = conformance(*target, *cases, cwd=tmp_path)
    assert right.returncode == 0, right.stdout + right.stderr
    wrong = conformance(*target, "--kwarg", "flip=true", "--case", "basic-first-step", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "behaves as `step-added`" in wrong.stdout
    assert "--kwarg flip=True --rename lr=learning_rate --case basic-first-step" in wrong.stdout


OPTAX = """
import optax

def renamed(step_size, b1=0.9, b2=0.99, weight_decay=0.0):
    return optax.lion(step_size, b1, b2, weight_decay=weight_decay)

def passing_on(learning_rate, **options):
    return optax.lion(learning_rate, **options)
"""


@pytest.mark.parametrize(
    "target",
    [
        ("--impl", "optax:theirs:renamed", "--rename", "lr=step_size"),
        ("--impl", "optax:theirs:passing_on"),
    ],
)
def test_optax_functions_with_other_names_or_any_arguments(conformance, tmp_path, target):
    pytest.importorskip("optax", reason="needs the extra 'jax'")
    (tmp_path / "theirs.py").write_text(OPTAX)
    cases = ("--case", "decay-random", "--case", "option-maximize")
    done = conformance("run", *target, *cases, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not offered: option maximize" in done.stdout


def test_a_process_that_ends_between_two_cases_does_not_lose_the_others(folder, monkeypatch):
    source = (
        (folder / "mine.py").read_text()
        + """
class Leaving(Mine):
    count = 0
    def __init__(self):
        Leaving.count += 1
        if Leaving.count > 1:
            os._exit(0)
"""
    )
    (folder / "mine.py").write_text(source)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    report = runner.run("python:mine:Leaving", select(("basic-*",)), "faithful")
    assert len(report.cases) == len(select(("basic-*",)))
    assert {case.outcome for case in report.cases} == {"EXACT", "ERROR"}


OPTIONS = {
    "lr=SCHEDULE", "weight_decay=SCHEDULE", "mask", "lr_peak", "maximize", "cautious",
    "cautious_cap", "cautious_decay", "steepness", "clipvalue", "clipnorm", "global_clipnorm",
    "gradient_accumulation_steps", "ema_decay", "ema_overwrite_every", "loss_scale",
    "loss_scale_growth_interval", 'decay="independent"', 'momentum_dtype="float32"',
    'momentum_dtype="int8"', "correction_bits",
    'momentum_dtype="bfloat16"', 'nonfinite="skip"', 'nonfinite="raise"', 'nonlinearity="tanh"',
    'nonlinearity="clip"', 'nonlinearity="l2"', 'loss_scale="dynamic"',
}  # fmt: skip


def test_options_lists_every_option_with_its_cases(conformance, tmp_path):
    path = tmp_path / "options.json"
    done = conformance("options", "--impl", "numpy", "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    table = json.loads(path.read_text())["options"]
    assert {row["option"] for row in table} == OPTIONS
    for row in table:
        assert row["numpy"] is True
        assert row["cases"]
        assert row["cases"][0] in done.stdout
        assert set(row["rules"]) <= {case.rule for case in CASES.values()}


def test_options_says_where_one_is_missing_or_wrong(conformance, folder):
    done = conformance("options", "--impl", "python:mine:Careless", cwd=folder)
    assert done.returncode == 1
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "FAIL" in lines["cautious"]
    assert "UNSUPPORTED" in lines["ema_decay"]
    assert "yes" in lines["maximize"]
