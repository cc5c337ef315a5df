"""lion-conformance run --exec: programs that follow docs/conformance-exec.md, and others."""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from usual import slow

import lion_ports
from lion_ports.conformance import processes, runner
from lion_ports.conformance.adapters import TargetError
from lion_ports.conformance.adapters.wire import WireError, decode, encode
from lion_ports.conformance.bits import DTYPES
from lion_ports.conformance.cases import select

ROOT = Path(lion_ports.__file__).parent
PAGE = (ROOT.parent / "docs" / "conformance-exec.md").read_text()
CC = shutil.which("cc")

pytestmark = pytest.mark.skipif(CC is None, reason="needs a C compiler")


def compiled(folder, name, *flags, source=None):
    text = (ROOT / "conformance" / "examples" / "lion.c").read_text() if source is None else source
    path = folder / f"{name}.c"
    path.write_text(text)
    warnings = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-O2")
    subprocess.run([CC, *warnings, *flags, "-o", folder / name, path], check=True)
    return folder / name


@pytest.fixture(scope="module")
def lion(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("c"), "my_lion", "-ffp-contract=off")


def results(path):
    (report,) = json.loads(path.read_text())["implementations"]
    return report, {case["id"]: case for case in report["cases"]}


def test_the_example_in_c_is_bitwise_in_all_that_it_offers(conformance, lion, tmp_path):
    done = conformance(
        "run", "--exec", "./my_lion", "--level", "bitwise", "--json", tmp_path / "out.json",
        cwd=lion.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report, cases = results(tmp_path / "out.json")
    assert report["name"] == "exec:./my_lion"
    assert report["version"] == "lion.c 1.0"
    assert {case["outcome"] for case in cases.values()} == {"EXACT", "UNSUPPORTED"}
    offered = {name for name, case in cases.items() if case["outcome"] == "EXACT"}
    core = ("basic-*", "coefficients-*", "sign-*", "betas-*", "schedule-*", "long-*", "decay-mask")
    core += ("structure-[!fgtu]*", "state-restart-float32", "errors-*-lr", "errors-*beta*")
    assert {case.id for case in select((*core, "errors-*-decay", "errors-unknown-*"))} <= offered
    assert {"dtype-float32", "dtype-float64", "dtype-float64-gradient-float32"} <= offered
    for name, words in (("option-decay-schedule", "weight_decay"), ("state-portable-float32", "")):
        assert cases[name]["outcome"] == "UNSUPPORTED"
        assert words in cases[name]["detail"]
        assert "which no request carries" in cases[name]["detail"]


def test_the_example_with_fused_operations_is_faithful(conformance, lion, tmp_path):
    fused = compiled(tmp_path, "fused", "-ffp-contract=fast", "-march=native")
    cases = ("--case", "basic-*", "--case", "sign-*", "--case", "coefficients-*")
    done = conformance("run", "--exec", shlex.quote(str(fused)), *cases, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mistake_in_the_example_is_found_and_named(conformance, tmp_path):
    source = (ROOT / "conformance" / "examples" / "lion.c").read_text()
    wrong = source.replace("c < 0 ? -1 : c == 0 ? 0 : c", "c < 0 ? -1 : 1")
    assert wrong != source
    compiled(tmp_path, "wrong", "-ffp-contract=off", source=wrong)
    done = conformance("run", "--exec", "./wrong", "--case", "sign-zero-cancel", cwd=tmp_path)
    assert done.returncode == 1
    assert "behaves as `sign-zero-plus`" in done.stdout
    replay = next(line for line in done.stdout.splitlines() if "lion-conformance run" in line)
    again = conformance("run", *shlex.split(replay)[2:], cwd=tmp_path)
    assert again.returncode == 1
    assert "behaves as `sign-zero-plus`" in again.stdout


def test_the_session_in_the_page_is_what_the_example_answers(lion):
    session = [line.strip() for line in PAGE.splitlines() if line.startswith(("    > ", "    < "))]
    sent = [line[2:] for line in session if line.startswith(">")]
    answers = [json.loads(line[2:]) for line in session if line.startswith("<")]
    done = subprocess.run(
        [lion], input="\n".join(sent) + "\n", capture_output=True, text=True, check=True
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == answers
    assert len(answers) == len(sent) == 7


# A client in Python, which does something of its own at the second step.
CLIENT = """
import json, os, sys, time
import numpy as np
from lion_ports import LionConfig, reference
from lion_ports.conformance.adapters.wire import decode, encode

OFFERS = {"protocol": 1, "dtypes": ["float32"], "commands": ["momentum", "average"],
          "options": ["maximize", "ema_decay", "nonfinite"]}
OFFERS |= json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
steps = 0
for line in sys.stdin:
    request, answer = json.loads(line), {}
    what = request["do"]
    arrays = {n: None if a is None else decode(a) for n, a in request.get("grads", {}).items()}
    if what == "hello":
        answer = OFFERS
    elif what == "start":
        try:
            config = LionConfig.from_options(request["config"])
        except Exception as error:
            answer = {"error": str(error)}
        else:
            x = {n: decode(a) for n, a in request["params"].items()}
            state = reference.init(x, config)
    elif what == "step":
        steps += 1
        if steps == 2:
            exec(sys.argv[1])
        try:
            x, state = reference.step(x, arrays, state, config, lr=request["lr"])
        except Exception as error:
            answer = answer or {"error": str(error)}
    else:
        shown = {"params": x, "momentum": state.momentum, "average": state.average or None}[what]
        answer = {what: shown and {n: encode(a) for n, a in shown.items()}}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def client(conformance, tmp_path):
    (tmp_path / "client.py").write_text(CLIENT)

    def run(twist, *arguments, offers="{}"):
        words = [sys.executable, "client.py", twist, offers]
        return conformance("run", "--exec", shlex.join(words), *arguments, cwd=tmp_path)

    return run


def test_options_and_refusals_and_averages_go_over_the_wire(client, tmp_path):
    cases = ("option-maximize", "option-ema", "option-nonfinite-raise", "errors-n*-lr", "errors-u*")
    patterns = [word for case in cases for word in ("--case", case)]
    done = client("pass", *patterns, "--level", "bitwise", "--json", str(tmp_path / "out.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    _, found = results(tmp_path / "out.json")
    assert {case["outcome"] for case in found.values()} == {"EXACT"}


@pytest.mark.parametrize(
    ("twist", "words"),
    [
        ("import ctypes; ctypes.string_at(0)", "the program was killed by SIGSEGV"),
        ("sys.exit('no more memory')", "the program exited with 1: no more memory"),
        slow("sys.exit(0)", "the program exited with 0, and gave no answer to 'step'"),
        (
            "print('hello from the kernel')",
            "the answer to 'step' is 'hello from the kernel', not a",
        ),
        slow("print('[1]')", "the answer to 'step' is '[1]', not a line with a JSON object"),
        ("answer = {'error': 'no such step'}", "RefusedError: no such step"),
        ("time.sleep(60)", "no result within 2 s; the process was stopped"),
        ("encode = lambda a: 7", "an array is an object with dtype, shape and hex"),
    ],
)
def test_what_a_program_does_wrong_is_a_result_and_the_next_case_goes_on(
    client, tmp_path, twist, words
):
    out = str(tmp_path / "out.json")
    cases = ("--case", "basic-two-betas", "--case", "basic-first-step")
    done = client(twist, *cases, "--timeout", "2", "--json", out)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    _, found = results(tmp_path / "out.json")
    assert found["basic-two-betas"]["outcome"] == "ERROR"
    assert words in found["basic-two-betas"]["detail"]
    assert found["basic-first-step"]["outcome"] == "EXACT"  # one step only


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (7, "an array is an object with dtype, shape and hex"),
        ({"dtype": "int4", "shape": [], "hex": ""}, "dtype 'int4' is not one"),
        ({"dtype": "float32", "shape": 4, "hex": ""}, "shape 4 is not a list"),
        ({"dtype": "float32", "shape": [4], "hex": "xy"}, "hexadecimal"),
        ({"dtype": "float32", "shape": [4], "hex": "00"}, "takes 16 bytes"),
    ],
)
def test_an_array_that_is_none_is_refused(given, words):
    with pytest.raises(WireError, match=words):
        decode(given)


def test_a_wrong_answer_is_a_failure_and_an_unsupported_one_is_not(client, tmp_path):
    wrong = client("arrays['x'] = -arrays['x']", "--case", "basic-two-betas")
    assert wrong.returncode == 1
    assert "FAIL" in wrong.stdout
    out = str(tmp_path / "out.json")
    declined = "answer = {'unsupported': 'a second step'}"
    client(declined, "--case", "basic-*", "--json", out)
    _, found = results(tmp_path / "out.json")
    assert found["basic-two-betas"]["outcome"] == "UNSUPPORTED"
    assert found["basic-two-betas"]["detail"] == "a second step"


def test_without_a_momentum_the_state_is_followed_from_outside(client):
    offers = json.dumps({"commands": []})
    done = client("pass", "--case", "basic-*", "--case", "decay-random", offers=offers)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("./absent", "there is no file './absent'; name a program, as --exec ./my_lion"),
        ("absent", "there is no program 'absent' on the PATH; one that is here is ./absent"),
        ("./text", "'./text' is not executable; chmod +x ./text makes it so, or name what runs it"),
        ("./bare", "'./bare' is nothing that this system can run; give a script a first line"),
        ("./lost", "the interpreter that the first line of './lost' names is not there"),
        ("./folder", "'./folder' is a folder; name a program in it"),
        (" ", "--exec (or --impl exec:) names no program; name one, as --exec ./my_lion"),
        ("true", "it has to answer each line on stdin with one on stdout, until stdin ends"),
        ("echo hello", "what is no answer belongs on stderr (docs/conformance-exec.md)"),
        ("true", "the program exited with 0, and gave no answer to 'hello'"),
        ("echo hello", "the answer to 'hello' is 'hello', not a line with a JSON object"),
        ("echo '{\"protocol\": 2}'", "the program speaks protocol 2, and this suite speaks 1"),
        ("echo '{}'", "the program speaks protocol None"),
        ('echo \'{"error": "not today"}\'', "not today"),
        ("cat", "the answer to 'hello' names no dtype that the suite knows; it has to say which"),
        ('echo \'{"protocol": 1, "dtypes": ["int4"]}\'', 'as "dtypes": ["float32"] (docs/'),
        ('echo \'{"protocol": 1, "dtypes": "float32"}\'', "names no dtype that the suite knows"),
        ("'unfinished", "No closing quotation"),
    ],
)
def test_a_program_that_does_not_shake_hands_is_refused_with_one_sentence(
    conformance, tmp_path, command, words
):
    (tmp_path / "folder").mkdir()
    for name, line in {"text": "", "bare": "", "lost": "#!/no/such/thing\n"}.items():
        (tmp_path / name).write_text(f"{line}print('hello')\n")
        (tmp_path / name).chmod(0o644 if name == "text" else 0o755)
    done = conformance("run", "--exec", command, "--case", "basic-*", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Errno" not in done.stderr
    assert done.stderr.startswith("lion-conformance: --exec ")
    assert len(done.stderr.splitlines()) == 1


def test_the_timeout_is_kept_in_the_handshake(conformance, tmp_path):
    patterns = ("--timeout", "0.5", "--case", "basic-first-step")
    # A child that holds stdout open must not keep the suite waiting either.
    for command in ("sleep 40", "sh -c 'sleep 40; true'", "sh -c 'printf {; sleep 40'"):
        began = time.monotonic()
        done = conformance("run", "--exec", command, *patterns, cwd=tmp_path)
        assert time.monotonic() - began < 30
        assert (done.returncode, done.stdout) == (2, "")
        assert "no answer to 'hello' within 0.5 s; the program was stopped" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_program_that_is_silent_from_the_beginning_is_refused(monkeypatch):
    monkeypatch.setattr(processes, "START_SECONDS", 1.0)
    words = "does not get ready: no result within 1 s; the process was stopped"
    with pytest.raises(TargetError, match=words):
        runner.run("exec:sleep 60", select(("basic-*",)), "faithful")


def test_devices_do_not_apply(conformance, lion, tmp_path):
    done = conformance("run", "--exec", str(lion), "--device", "cuda", cwd=tmp_path)
    assert done.returncode == 2
    assert "a program chooses its own device" in done.stderr


def test_kwargs_and_renames_reach_the_config(client):
    done = client("pass", "--rename", "lr=rate", "--case", "basic-first-step")
    assert "unknown setting 'rate'" in done.stdout
    done = client("pass", "--kwarg", "maximize=true", "--case", "basic-first-step")
    assert "behaves as `maximize`" in done.stdout


def test_the_page_names_every_setting():
    settings = lion_ports.LionConfig.__dataclass_fields__
    assert [name for name in settings if f"`{name}`" not in PAGE] == []


def test_the_protocol_carries_every_dtype_and_shape():
    for dtype in DTYPES.values():
        for shape in ((), (0,), (3, 2)):
            array = (np.arange(np.prod(shape, dtype=int)) - 1.5).reshape(shape).astype(dtype)
            again = decode(json.loads(json.dumps(encode(array))))
            assert again.dtype == dtype
            assert again.shape == shape
            assert again.tobytes() == array.tobytes()
    strided = np.arange(6.0).reshape(2, 3).T
    assert np.array_equal(decode(encode(strided)), strided)
