"""What ``lion-bench`` refuses, before it measures anything."""

import shlex

import pytest
from bench_results import QUICK
from usual import covering


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


BROKEN = {
    "missing": ("import mlx.nosuch", "ModuleNotFoundError: No module named 'mlx.nosuch'"),
    "of another version": ("raise RuntimeError('too old\\nby far')", "RuntimeError: too old"),
}


@pytest.mark.parametrize(("command", "matter"), covering(["step --shapes 2x10", "train"], BROKEN))
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
