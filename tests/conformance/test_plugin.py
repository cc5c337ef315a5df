"""The pytest plugin, as a project that ships a Lion uses it."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from usual import slow

from lion_ports.conformance.cases import select

MINE = '''
class Coarse(Mine):
    """The learning rate is one ulp off, which the bound allows."""

    def step(self, grads, lr):
        super().step(grads, lr * (1 + 2.0 ** -23))

class Doubled(Mine):
    def step(self, grads, lr):
        super().step(grads, 2 * lr)

class Chosen(Mine):
    def __init__(self, factor=1):
        self.factor = factor

    def step(self, grads, lr):
        super().step(grads, self.factor * lr)

class Dying(Mine):
    def step(self, grads, lr):
        if lr == 2.0**-2:
            os.abort()
        super().step(grads, lr)
'''

NEVER = """
class Never(Mine):
    def step(self, grads, lr):
        os.abort()
"""

TWO = ("-p", "xdist", "-n", "2")


@pytest.fixture
def project(mine, plugin_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", plugin_path)
    tmp_path = mine(MINE)
    (tmp_path / "test_own.py").write_text("def test_own_first():\n    pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return tmp_path


def run(project, *arguments, every_plugin=False):
    """pytest with our plugin, and with others that are installed, which import much, if asked."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    env = dict(os.environ)
    if not every_plugin:
        command += ["-p", "lion_conformance"]
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return subprocess.run(command, cwd=project, capture_output=True, text=True, env=env)


def ending(done):
    """The last line without its time, as ``1 passed, 2 skipped``."""
    return done.stdout.splitlines()[-1].strip("= ").partition(" in ")[0]


def test_a_test_for_each_case_beside_the_projects_own(project):
    cases = ("--lion-case", "basic-*", "--lion-case", "decay-mask")
    options = ("--lion-impl", "python:mine:Mine", *cases, "-v", "-rs")
    done = run(project, *options, every_plugin=True)
    assert done.returncode == 0, done.stdout
    assert ending(done) == "6 passed, 1 skipped"
    assert "test_own.py::test_own_first PASSED" in done.stdout
    assert "python:mine:Mine::basic-decay PASSED" in done.stdout
    assert "not offered: a weight decay mask" in done.stdout


def test_a_failure_is_told_in_the_suites_words_and_nothing_else(project):
    done = run(project, "--lion-impl", "python:mine:Doubled", "--lion-case", "basic-first-step")
    assert done.returncode == 1
    assert ending(done) == "1 failed, 1 passed"
    assert "FAIL  basic-first-step  L-001" in done.stdout
    assert "step 1, x[0]: the parameter came as 0x1p-1, allowed is 0x1.8p-1" in done.stdout
    assert "lion-conformance run --impl python:mine:Doubled --case basic-first-step" in done.stdout
    for noise in ("Traceback", "pytest_plugin.py", "runtest", "raise "):
        assert noise not in done.stdout + done.stderr


def test_a_level_is_asked_for(project):
    arguments = ("--lion-impl", "python:mine:Coarse", "--lion-case", "decay-random")
    assert ending(run(project, *arguments)) == "2 passed"
    done = run(project, *arguments, "--lion-level", "bitwise")
    assert ending(done) == "1 failed, 1 passed"
    assert "--level bitwise --case decay-random" in done.stdout


def test_a_crash_is_a_failed_test_and_the_next_one_runs(project):
    cases = ("--lion-case", "basic-first-step", "--lion-case", "schedule-zero")
    done = run(project, "--lion-impl", "python:mine:Dying", *cases)
    assert ending(done) == "1 failed, 2 passed"
    assert "ERROR  basic-first-step" in done.stdout
    assert "killed by SIGABRT" in done.stdout


def test_arguments_reach_the_implementation_and_the_command_that_replays(project, shell):
    arguments = ("--lion-impl", "python:mine:Chosen", "--lion-case", "basic-first-step")
    assert ending(run(project, *arguments)) == "2 passed"
    done = run(project, *arguments, "--lion-kwarg", "factor=2")
    assert ending(done) == "1 failed, 1 passed"
    # a set: where CI is set, pytest repeats the whole of a failure in its summary
    [command] = {line for line in done.stdout.splitlines() if "lion-conformance run" in line}
    again = shell(command, cwd=project)
    assert again.returncode == 1, again.stderr
    assert "FAIL  basic-first-step" in again.stdout


def test_expectations_are_skips_and_expected_failures(project):
    (project / "known.toml").write_text(
        '[[xfail]]\nimpl = "python:mine:Doubled"\ncases = ["basic-decay"]\nreason = "issue 7"\n'
        '[[skip]]\nimpl = "python:mine:Doubled"\ncases = ["basic-normal"]\nreason = "slow"\n'
    )
    cases = ("--lion-case", "basic-decay", "--lion-case", "basic-normal", "-rsx")
    options = ("--lion-impl", "python:mine:Doubled", "--lion-expect", "known.toml")
    done = run(project, *options, *cases)
    assert done.returncode == 0, done.stdout
    assert ending(done) == "1 passed, 1 skipped, 1 xfailed"
    assert "issue 7" in done.stdout
    done = run(project, "--lion-impl", "python:mine:Mine", "--lion-expect", "absent.toml")
    assert done.returncode == 4
    assert "--lion-expect absent.toml cannot be read: No such file" in done.stderr


def test_with_xdist_k_and_junitxml(project):
    report = project / "out.xml"
    options = (*TWO, "-k", "basic and not tensors", "--junitxml", str(report))
    done = run(project, "--lion-impl", "python:mine:Mine", *options)
    assert done.returncode == 0, done.stdout
    assert ending(done) == "4 passed"
    found = {(c.get("classname"), c.get("name")) for c in ET.parse(report).iter("testcase")}
    assert found == {
        ("python:mine:Mine", f"basic-{name}")
        for name in ("first-step", "two-betas", "decay", "normal")
    }


WRONG = [
    ("python:absent:make", "python:absent:make: the module 'absent' cannot be imported from"),
    ("torch:absent:Lion", "torch:absent:Lion: the module 'absent' cannot be imported from"),
    ("python:mine:Absent", "python:mine:Absent: the module 'mine' has no class or function"),
    ("python:dying:make", "python:dying:make does not get ready: the process was killed by"),
    ("python:torn:make", "python:torn:make does not get ready: the process exited with 1: Syn"),
]


@pytest.mark.parametrize(
    ("impl", "words", "processes"),
    [
        *((*wrong, ()) for wrong in WRONG if not wrong[0].startswith("torch:")),
        *(slow(*wrong, ()) for wrong in WRONG if wrong[0].startswith("torch:")),
        (*WRONG[0], TWO),
        *(slow(*wrong, TWO) for wrong in WRONG[1:]),
    ],
)
def test_an_implementation_that_cannot_be_imported_is_one_error_of_usage(
    project, impl, words, processes
):
    if impl.startswith("torch:"):
        pytest.importorskip("torch", reason="needs the extra 'torch'")
    (project / "dying.py").write_text("import os\nos.abort()\n")
    (project / "torn.py").write_text("def make(:\n")
    done = run(project, "--lion-impl", "python:mine:Mine", "--lion-impl", impl, *processes)
    assert done.returncode == 4
    [error] = done.stderr.split("\n\n")[:-1]
    assert error.startswith(f"ERROR: --lion-impl {words}")
    for noise in ("test_own", "Traceback", "FAILED", "passed"):
        assert noise not in done.stdout + done.stderr


def test_what_crashes_every_time_is_given_up(project):
    (project / "mine.py").write_text((project / "mine.py").read_text() + NEVER)
    arguments = (
        "--lion-impl",
        "python:mine:Never",
        "--lion-case",
        "[b-d]*",
        "-rs",
        "-k",
        "not own",
    )
    done = run(project, *arguments)
    assert done.returncode == 1
    count = len(select(("[b-d]*",)))
    assert ending(done) == f"3 failed, {count - 3} skipped, 1 deselected"
    assert (
        "because those before ended alike, one after the other: the process was killed"
        in done.stdout
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--lion-impl", "tensorflow"), "neither one of numpy, torch"),
        (("--lion-impl", "numpy", "--lion-case", "typo-*"), "--lion-case typo-*: no case matches"),
        (("--lion-impl", "numpy", "--lion-kwarg", "lr"), "--lion-kwarg, --lion-rename: 'lr' is"),
    ],
)
def test_wrong_options_end_before_anything_runs(project, options, words):
    done = run(project, *options)
    assert done.returncode == 4
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "test_own" not in done.stdout


def test_without_the_option_nothing_happens_and_nothing_is_imported(project):
    (project / "test_own.py").write_text(
        "import sys\n\ndef test_own():\n"
        "    ours = {n for n in sys.modules if n.startswith('lion_ports.conformance.')}\n"
        "    assert ours == {'lion_ports.conformance.pytest_plugin'}\n"
        "    assert not {'numpy', 'torch', 'jax', 'mlx', 'click'} & sys.modules.keys()\n"
    )
    done = run(project)  # other plugins that are installed here import NumPy themselves
    assert done.returncode == 0, done.stdout
    assert ending(done) == "1 passed"
