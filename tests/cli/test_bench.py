"""lion-bench through its command line, on tensors so small that nothing here is about time."""

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from importlib.resources import files

import jsonschema
import pytest

from lion_ports.cli.bench import machine, main
from lion_ports.cli.bench.catalog import CONTENDERS
from lion_ports.cli.bench.files import markers

# As the package ships it.
SCHEMA = json.loads(files("lion_ports.cli.bench").joinpath("bench.schema.json").read_text())
# Without torch.compile, which takes ten seconds.
OURS = ("--only", "lion-ports", "--only", "lion-ports *", "--only", "lion-ports, mx*")
QUICK = ("--threads", "1", "--rounds", "1", "--seconds", "0")

MINE = """
import os
from mlx.optimizers import SGD

class Raises(SGD):
    def update(self, model, gradients):
        raise ArithmeticError("mine cannot do this\\nand says more")

class RaisesLater(SGD):
    calls = 0

    def update(self, model, gradients):
        self.calls += 1
        if self.calls > 3:
            raise ArithmeticError("mine is tired")
        super().update(model, gradients)

class Crashes(SGD):
    def update(self, model, gradients):
        os.abort()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bench(folder, capfd, monkeypatch):
    """``lion-bench`` in this process, on a machine at rest: exit code, stdout, stderr."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(machine, "processor_ticks", dict)

    def call(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(list(arguments))
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return exit_.value.code, out, err

    return call


def document(folder, name="all.json"):
    found = json.loads((folder / name).read_text())
    jsonschema.validate(found, SCHEMA, format_checker=jsonschema.FormatChecker())
    return found


def contenders(result, case=0):
    return {entry["name"]: entry for entry in result["cases"][case]["contenders"]}


def test_one_step_of_ours_and_theirs(bench, folder):
    pytest.importorskip("lion_pytorch", reason="needs the peer lion-pytorch")
    page = folder / "page.md"
    page.write_text("before\n" + "\nold\n".join(markers("step")) + "\nafter\n")
    code, out, _ = bench(
        "step", "--shapes", "3x10x20", "--threads", "1", "--rounds", "8", "--seconds", "0",
        *OURS, "--only", "lion-pytorch", "--only", "optax.*", "--only", "mlx L*",
        "--json", "all.json", "--markdown", "page.md", "--plot", "all.svg",
    )  # fmt: skip
    assert code == 0
    found = document(folder)
    assert [result["backend"] for result in found["backends"]] == ["torch", "jax", "mlx"]
    for result in found["backends"]:
        case = result["cases"][0]
        assert (case["tensors"], case["parameters"]) == (3, 600)
        names = set(contenders(result))
        # Interleaved: each round has everybody once, and not always in the same order.
        assert [sorted(order) for order in case["orders"]] == 8 * [sorted({*names, "bandwidth"})]
        assert len({tuple(order) for order in case["orders"]}) > 1
        for name, entry in contenders(result).items():
            assert entry["status"] == "measured", entry
            moves = 28 if "adam" in name else 20
            assert entry["bytes_per_parameter"] == pytest.approx(moves, abs=0.1), name
            assert entry["ms"]["samples"] == 8
            assert entry["ours"] == name.startswith("lion-ports")
            assert name in out
        assert contenders(result)[result["baseline"]]["times_baseline"] == 1
    torch, jax, mlx = (contenders(result) for result in found["backends"])
    for entry in (
        jax["lion-ports fused_lion"],
        jax["lion-ports lion"],
        mlx["lion-ports, mx.compile"],
    ):
        assert entry["recompilations"] == 0
    assert jax["lion-ports fused_lion"]["temporary_bytes"] == 0
    assert jax["optax.lion"]["temporary_bytes"] >= 4 * 600  # the momentum, copied
    assert torch["lion-pytorch"]["peak_bytes"] >= 4 * 200  # at least a tensor
    text = page.read_text()
    assert text.startswith("before\n" + markers("step")[0])
    assert text.endswith(markers("step")[1] + "\nafter\n")
    assert "old" not in text
    assert "| **lion-ports fused_lion** |" in text
    picture = (folder / "all.svg").read_text()
    assert "<svg" in picture


def test_a_peer_that_raises_or_crashes_is_reported_and_ends_nothing(bench, folder):
    peers = ("Raises", "RaisesLater", "Crashes")
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "2x10", "--only", "lion-ports",
        "--threads", "1", "--rounds", "3", "--seconds", "0",
        *(word for peer in peers for word in ("--peer", f"mlx:mine:{peer}")),
        "--json", "all.json",
    )  # fmt: skip
    assert code == 0
    found = contenders(document(folder)["backends"][0])
    assert found["lion-ports"]["status"] == "measured"
    assert found["mine:Raises"]["message"] == "ArithmeticError: mine cannot do this"
    assert found["mine:RaisesLater"]["message"] == "ArithmeticError: mine is tired"
    orders = document(folder)["backends"][0]["cases"][0]["orders"]
    assert ["mine:RaisesLater" in order for order in orders] == [True, False, False]
    assert all("lion-ports" in order for order in orders)
    assert found["mine:Crashes"]["message"] == "the process was ended by SIGABRT"
    for peer in peers:
        assert found[f"mine:{peer}"]["status"] == "failed"
        assert f"mine:{peer} failed: {found[f'mine:{peer}']['message']}" in out


@pytest.mark.parametrize("width", [80, 90])
def test_a_narrow_terminal_has_fewer_columns_and_no_cut_figures(width, bench, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = bench("step", "--backend", "mlx", "--shapes", "2x10", *QUICK)
    assert code == 0
    assert "no room for quartiles" in out
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line).strip() for line in out.splitlines()]
    (row,) = [line for line in lines if line.startswith("mlx Lion  ")]
    assert row.endswith(" B")  # the extra memory, which is the last column
    assert "\N{HORIZONTAL ELLIPSIS}" not in out


def test_small_shapes_are_counted_to_the_last_parameter(bench, folder):
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "10x200", "--only", "lion-ports", *QUICK,
        "--markdown", "new.md", "--plot", "all.svg",
    )  # fmt: skip
    assert code == 0
    title = "one step of 2,000 parameters"
    assert f"{title} in 10 tensors" in out
    assert f"{title} in 10 tensors" in (folder / "new.md").read_text()
    assert f"<!-- mlx: {title} " in (folder / "all.svg").read_text()


def test_what_there_is_one_of_is_in_the_singular(bench):
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "1x1", "--only", "lion-ports", *QUICK
    )
    assert code == 0
    words = " ".join(out.split())
    assert ": one step of 1 parameter in 1 tensor " in words
    assert ": 1 interleaved round, 1 thread, float32 " in words


def test_large_shapes_are_counted_in_millions(bench):
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "2x600000", "--only", "lion-ports", *QUICK
    )
    assert code == 0
    assert "one step of 1.2 M parameters in 2 tensors" in out


@pytest.mark.parametrize(
    ("backend", "ours"),
    [("torch", "lion-ports"), ("jax", "lion-ports fused_lion"), ("mlx", "lion-ports")],
)
def test_ours_once_more_with_other_settings(backend, ours, bench, folder):
    pytest.importorskip(backend, reason=f"needs the extra '{backend}'")
    small, many = "momentum_dtype=int8", "betas=(0.9, 0.95),ema_decay=0.5"
    code, _, _ = bench(
        "step", "--backend", backend, "--shapes", "2x128", "--only", ours, "--with", small,
        "--with", many, *QUICK, "--json", "all.json",
    )  # fmt: skip
    assert code == 0
    entries = contenders(document(folder)["backends"][0])
    found = {name: entry["bytes_per_parameter"] for name, entry in entries.items()}
    # Parameter and gradient, and twice the state: float32; a byte and a scale; float32 and average.
    due = {ours: 20, f"{ours}, {small}": 12 + 2 * (1 + 2 / 128), f"{ours}, {many}": 28}
    assert found == pytest.approx(due, rel=1e-4)


QUIET = {0: (0, 30), 1: (3, 30)}
UNTOLD = {}


@pytest.mark.parametrize(
    ("ticks", "load", "busy_cores", "words"),
    [
        (QUIET, 9.0, 0.1, None),  # the load average still has our last run in it
        ({0: (30, 30), 1: (24, 30)}, 3.14, 1.8, "other programs kept 1.8 of 4 cores busy when this "
         "began: the figures are not to be trusted; run it again on a machine at rest"),
        (UNTOLD, 2.0, None, None),
        (UNTOLD, 3.14, None, "the load average was 3.1 on 4 cores when this began: unless that was "
         "a run just before, the figures are not to be trusted; run it again on a machine at rest"),
    ],
)  # fmt: skip
def test_a_busy_machine_is_noted(ticks, load, busy_cores, words, bench, folder, monkeypatch):
    before = {core: (7, 11) for core in ticks}
    after = {core: (7 + busy, 11 + total) for core, (busy, total) in ticks.items()}
    readings = iter([before, after])
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(machine, "processor_ticks", lambda: next(readings))
    monkeypatch.setattr(machine, "cores", lambda: 4)
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "2x10", "--only", "lion-ports", *QUICK,
        "--json", "all.json", "--markdown", "new.md",
    )  # fmt: skip
    assert code == 0
    found = document(folder)["machine"]
    assert (found["load_average"], found.get("busy_cores")) == (load, busy_cores)
    page = (folder / "new.md").read_text()
    if words is None:
        assert "load average" not in out + page
        assert "trusted" not in out + page
    else:
        assert words in out
        assert f"\n\n{words[0].upper()}{words[1:]}.\n\n" in page
        for text in (out, page):
            assert ", load average 3.1; " in text


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/stat is Linux' own")
def test_the_clocks_of_the_processor_are_read():
    read = machine.processor_ticks()
    assert set(read) == os.sched_getaffinity(0)
    assert all(0 < busy < total for busy, total in read.values())


# In the folder of the command: what python reads when it starts, or what comes before the package.
NO_NUMBA = {
    "missing": ("sitecustomize.py", "import sys; sys.modules['numba'] = None"),
    "broken": ("numba.py", "raise ImportError('too old')"),
}
NUMBA_NOTE = (
    "umba is missing or broken, so that lion-ports makes its steps by torch's own operations, "
    "several times slower: pip install '.[torch]' in a checkout of lion-ports"
)


@pytest.mark.parametrize(
    ("matter", "only", "noted"),
    [
        ("missing", "lion-ports", True),
        pytest.param("broken", "lion-ports", True, marks=pytest.mark.slow),
        pytest.param("missing", "torch SGD*", False, marks=pytest.mark.slow),  # none of ours
    ],
)
def test_steps_without_numba_are_noted(matter, only, noted, bench, folder, monkeypatch):
    file, content = NO_NUMBA[matter]
    (folder / file).write_text(content)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    code, out, _ = bench(
        "step", "--backend", "torch", "--shapes", "2x10", "--only", only, *QUICK,
        "--json", "all.json", "--markdown", "new.md",
    )  # fmt: skip
    assert code == 0
    assert [f"n{NUMBA_NOTE}"] * noted == document(folder)["backends"][0]["notes"]
    assert (f"n{NUMBA_NOTE}" in " ".join(out.split())) is noted
    assert (f"\n\nN{NUMBA_NOTE}.\n" in (folder / "new.md").read_text()) is noted


@pytest.mark.parametrize(
    "command",
    ["step --shapes 2x10 --only lion-ports", pytest.param("train", marks=pytest.mark.slow)],
)
def test_with_numba_there_is_no_note(command, bench, folder):
    pytest.importorskip("numba", reason="needs numba, which is not installed")
    code, out, _ = bench(*command.split(), "--backend", "torch", *QUICK, "--json", "all.json")
    assert code == 0
    assert document(folder)["backends"][0]["notes"] == []
    assert "numba is" not in out


def test_only_knows_the_names_of_peers_and_leaves_none_of_them_out(bench, folder):
    arguments = ("step", "--backend", "mlx", "--shapes", "2x10", *QUICK, "--json", "all.json")
    peer = ("--peer", "mlx:mine:RaisesLater")
    for only, names in (
        ("mine:*", {"mine:RaisesLater"}),
        ("lion-ports", {"lion-ports", "mine:RaisesLater"}),
    ):
        code, _, err = bench(*arguments, *peer, "--only", only)
        assert code == 0, err
        assert set(contenders(document(folder)["backends"][0])) == names
    code, _, err = bench(*arguments, *peer, "--only", "nobody")
    assert code == 2
    assert "mine:RaisesLater" in err


def test_scaling_says_that_it_goes_by_powers_of_ten(bench):
    code, out, _ = bench("scaling", "--help")
    assert code == 0
    assert "measured are the powers of ten from 1,000 to it" in " ".join(out.split())


def test_scaling(bench, folder, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--one --two")  # no backend here reads them
    code, out, _ = bench(
        "scaling", "--backend", "mlx", "--max", "10000", "--total", "100", *QUICK,
        "--json", "all.json", "--plot", "all.png", "--markdown", "new.md",
    )  # fmt: skip
    assert code == 0
    found = document(folder)
    assert found["command"].startswith("XLA_FLAGS='--one --two' lion-bench")
    result = found["backends"][0]
    seen = [(c["series"], c["tensors"], c["parameters"]) for c in result["cases"]]
    assert seen == [
        ("size", 1, 1_000), ("size", 1, 10_000),
        ("count", 1, 100), ("count", 10, 100), ("count", 100, 100),
    ]  # fmt: skip
    for number in range(len(seen)):
        assert {e["status"] for e in contenders(result, number).values()} == {"measured"}
    assert "ns a parameter" in out
    assert (folder / "new.md").read_text().startswith(markers("scaling")[0])
    assert (folder / "all.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "backend", ["mlx", *(pytest.param(b, marks=pytest.mark.slow) for b in ("torch", "jax"))]
)
def test_the_loops_train_the_model_of_the_trainer(backend, bench, folder):
    code, out, _ = bench(
        "train", "--backend", backend, *QUICK, "--json", "all.json", "--plot", "all.png"
    )
    assert code == 0
    result = document(folder)["backends"][0]
    found = contenders(result)
    losses = found["lion-train"]["losses"]
    loops = [name for name in found if name.startswith("hand-written")]
    assert len(loops) == 2
    for name in loops:
        assert found[name]["losses"][0] == pytest.approx(losses[0], rel=1e-6)
        # MLX has no mask: there the loops decay the gains of the norms as well.
        assert found[name]["losses"] == pytest.approx(losses, rel=1e-3)
        assert found[name]["trainer_times"] > 0
    assert losses[-1] < losses[0]
    assert result["cases"][0]["optimizer_share"] > 0
    assert "the optimizer's share of a step" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("step --backend tensorflow", "tensorflow"),
        ("step --shapes cube", "--shapes cube: neither one of"),
        ("step --shapes 0x5", "no elements"),
        ("step --shapes 4x1000000000000", "GB are free"),
        ("step --dtype int8", "int8"),
        ("step --threads 4096", "--threads 4096: this machine has"),
        ("step --rounds 0", "--rounds"),
        ("step --seconds nan", "--seconds nan: write a number from 0 to 3600"),
        ("train --seconds inf", "'--seconds': inf is not in the range 0<=x<=3600"),
        ("scaling --seconds 3601", "'--seconds': 3601.0 is not in the range 0<=x<=3600"),
        ("step --seconds -1", "'--seconds': -1.0 is not in the range"),
        ("step --only nobody", "nobody: matches none of 'lion-ports', 'lion-ports, torch.compile'"),
        ("step --only ''", "--only '': matches none of 'lion-ports'"),
        ("step --with ''", "--with '': write NAME=VALUE"),
        ("step --peer ''", "--peer '': write torch:MODULE:CLASS"),
        ("step --shapes ''", "--shapes '': neither one of"),
        ("train --preset ''", "--preset '': not one of"),
        (
            "step --backend mlx --only lion-ports --shapes 1x1000000000000",
            ": 1 optimizer on 1,000,",
        ),
        ("step --backend mlx --no-peers --shapes 1x1000000000000", ": 2 optimizers on 1,000,"),
        ("step --with clipnorm", "--with clipnorm: write NAME=VALUE,NAME=VALUE"),
        ("step --with int8", "--with int8: write NAME=VALUE"),
        ("step --with momentum=int8", "'momentum'; did you mean 'momentum_dtype'?"),
        ("scaling --with clipnorm=-1", "--with clipnorm=-1: clipnorm = -1 is not"),
        ("step --with lr=0.1", "--with lr=0.1: the command sets the learning rate itself"),
        ("step --only lion-pytorch --with clipnorm=1", "none of ours takes part"),
        ("step --peer mine:Raises", "--peer mine:Raises: write torch:MODULE:CLASS"),
        ("step --backend jax --peer torch:mine:Raises", "its backend is not among jax"),
        ("step --json missing/all.json", "no such folder"),
        (
            "step --backend mlx --shapes 1x5 --json -",
            "--json -: stdout has the tables; name a file",
        ),
        ("step --backend mlx --shapes 1x5 --markdown -", "--markdown -: stdout has the tables"),
        ("step --json .", "no file that could be replaced"),
        ("step --json same --markdown same", "--json and --markdown name the same file"),
        ("step --plot all.gif", "has to end in .png or .svg"),
        ("step --markdown mine.py", "has no lines"),
        ("scaling --max 10", "--max"),
        ("train --preset huge", "--preset huge: not one of tiny"),
        ("step --backend mlx --device tpu", "--device tpu: MLX sees here only"),
        ("race", "race"),
    ],
)
def test_wrong_input_is_one_sentence(arguments, words, bench):
    code, out, err = bench(*shlex.split(arguments))
    assert code == 2
    assert out == ""
    assert err.startswith("lion-bench: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        ("mlx:nosuch:Lion", "there is no module nosuch"),
        ("mlx:mine.deeper:Lion", "there is no module mine.deeper"),
        ("mlx:mine:Lion", "module mine has no Lion"),
        ("optax:mine:lion", "module mine has no lion"),
    ],
)
def test_a_peer_that_is_not_there_is_refused_before_the_measurement(peer, words, bench, folder):
    # Not one backend after the other: nothing is measured on either.
    backends = ("--backend", "mlx", "--backend", "jax")
    code, out, err = bench(
        "step", *backends, "--shapes", "2x10", "--only", "lion-ports", "--peer", peer, *QUICK,
        "--json", "all.json",
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert err == f"lion-bench: --peer {peer}: {words}\n"
    assert not (folder / "all.json").exists()


def test_a_peer_that_cannot_be_imported_is_reported(bench, folder):
    (folder / "needs.py").write_text("import nosuch\n")
    (folder / "ends.py").write_text("import os\nos.abort()\n")
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "2x10", "--only", "lion-ports", *QUICK,
        "--peer", "mlx:needs:Lion", "--peer", "mlx:ends:Lion",
    )  # fmt: skip
    assert code == 0
    assert "needs:Lion failed: ModuleNotFoundError: No module named 'nosuch'" in out
    assert "ends:Lion failed: the process was ended by SIGABRT" in out


BROKEN = {
    "missing": ("import mlx.nosuch", "ModuleNotFoundError: No module named 'mlx.nosuch'"),
    "of another version": ("raise RuntimeError('too old\\nby far')", "RuntimeError: too old"),
}


@pytest.mark.parametrize("matter", BROKEN)
@pytest.mark.parametrize("command", ["step --shapes 2x10", "train"])
def test_a_backend_that_does_not_import_is_named_before_the_measurement(
    command, matter, bench, folder
):
    words, error = BROKEN[matter]
    (folder / "mlx").mkdir()  # of the folder it is called in, before those that are installed
    (folder / "mlx" / "__init__.py").write_text(words)
    backends = ("--backend", "jax", "--backend", "mlx")
    code, out, err = bench(*command.split(), *backends, *QUICK, "--json", "all.json")
    assert (code, out) == (3, "")
    assert err == (
        f"lion-bench: the backend mlx is installed but does not import ({error}): pip install "
        "'.[mlx]' in a checkout of lion-ports, or name the others with --backend\n"
    )
    assert not (folder / "all.json").exists()


@pytest.mark.parametrize("backend", ["torch", "jax", "mlx"])
def test_a_missing_backend_is_named_with_its_command(backend, bench, monkeypatch):
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == backend else find_spec(name, *a),
    )
    code, _, err = bench("step", "--backend", backend)
    assert code == 3
    assert f"pip install '.[{backend}]' in a checkout of lion-ports" in err


def test_one_of_ours_that_fails_is_an_error_of_the_command(bench, monkeypatch):
    # MLX has no such attribute: what is ours by its package fails.
    from dataclasses import replace

    from lion_ports.cli.bench import catalog

    broken = [replace(c, target="lion_ports.mlx:Tiger") for c in CONTENDERS if c.name == "mlx Lion"]
    broken = [replace(c, package="lion-ports") for c in broken]
    monkeypatch.setattr(catalog, "CONTENDERS", tuple(broken))
    code, out, _ = bench("step", "--backend", "mlx", "--shapes", "1x5", *QUICK)
    assert code == 1
    assert "mlx Lion failed: AttributeError" in out


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--help"),
        ("train", "sample", "--help"),
        ("conformance", "--help"),
        ("conformance", "run", "--help"),
        ("conformance", "list"),
        ("bench", "--help"),
        ("bench", "step", "--help"),
        ("bench", "scaling", "--help"),
        ("bench", "train", "--help"),
    ],
    ids=" ".join,
)
def test_help_imports_no_framework(words):
    command, *arguments = words
    code = textwrap.dedent(f"""
        import sys
        sys.argv = ["command", *{arguments!r}]
        from lion_ports.cli import {command}
        try:
            {command}()
        except SystemExit as end:
            assert not end.code, end.code
        heavy = "torch jax jaxlib mlx keras optax equinox numba matplotlib scipy pydantic".split()
        found = [name for name in heavy if name in sys.modules]
        assert not found, found
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_ours_in_every_dtype(dtype, bench, folder):
    code, _, _ = bench(
        "step", "--shapes", "2x30", "--dtype", dtype, "--no-peers", *QUICK, "--json", "all.json"
    )
    assert code == 0
    moves = 40 if dtype == "float64" else 10
    for result in document(folder)["backends"]:
        for name, entry in contenders(result).items():
            assert entry["bytes_per_parameter"] == pytest.approx(moves, abs=0.5), name


@pytest.mark.slow
def test_everybody_who_is_installed(bench, folder):
    code, _, _ = bench("step", "--shapes", "2x300", *QUICK, "--json", "all.json")
    assert code == 0
    for result in document(folder)["backends"]:
        for entry in contenders(result).values():
            assert entry["status"] == "measured" or entry["message"]
    torch = contenders(document(folder)["backends"][0])
    assert torch["lion-ports, torch.compile"]["compile_seconds"] > 0
    assert torch["lion-ports, torch.compile"]["recompilations"] == 0
