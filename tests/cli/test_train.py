"""``lion-train``: its options, its files, its errors and exit codes."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

BACKENDS = ("torch", "jax", "mlx")


def events(run: str | Path, kind: str) -> list[dict[str, Any]]:
    lines = Path(run, "metrics.jsonl").read_text().splitlines()
    return [event for line in lines if (event := json.loads(line))["event"] == kind]


def losses(run: str | Path) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in events(run, "train")}


def last_checkpoint(run: str | Path) -> Path:
    return max(Path(run, "checkpoints").iterdir())


def tensors(run: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in last_checkpoint(run).glob("*.safetensors")}


# Options.


OPTIONS = {
    "train": [
        "--backend --batch-size --betas --clip --compile --config --data --device --dry-run",
        "--dtype --eval-every --help --lr --nonfinite --optimizer --out --preset --quiet",
        "--save-every --schedule --seed --sequence --set --steps --version --warmup --weight-decay",
    ],
    "resume": ["--backend --device --quiet --steps"],
    "sample": ["--backend --bytes --prompt --seed --temperature"],
    "eval": ["--backend --max-loss"],
    "plot": ["--out"],
    "doctor": [""],
    "config": [""],
}


def test_the_set_of_options_is_frozen() -> None:
    from lion_ports.cli.train import cli

    def flags(command: Any) -> list[str]:
        return sorted(o for p in command.params for o in p.opts if o.startswith("--"))

    found = {"train": [*flags(cli), "--help"], **{n: flags(c) for n, c in cli.commands.items()}}
    assert {name: sorted(options) for name, options in found.items()} == {
        name: sorted(" ".join(options).split()) for name, options in OPTIONS.items()
    }
    assert len(found["train"]) < 30


def test_help_imports_no_framework_and_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from lion_ports.cli.train import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = 'torch jax mlx numpy pydantic rich matplotlib'.split()\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


EFFECTS = {
    "--backend": (["--backend", "mlx"], lambda run: events(run, "start")[0]["backend"]),
    "--dtype": (["--dtype", "bfloat16"], losses),
    "--preset": (["--preset", "small"], losses),
    "--data": (["--data", "other.txt"], lambda run: events(run, "start")[0]["data_sha256"]),
    "--seed": (["--seed", "1"], lambda run: events(run, "start")[0]["init_sha256"]),
    "--steps": (["--steps", "5"], lambda run: len(losses(run))),
    "--batch-size": (["--batch-size", "3"], losses),
    "--sequence": (["--sequence", "12"], losses),
    "--optimizer": (["--optimizer", "adamw"], losses),
    "--optimizer signum": (["--optimizer", "signum"], losses),
    "--lr": (["--lr", "0.002"], losses),
    "--betas": (["--betas", "0.5", "0.9"], losses),
    "--weight-decay": (["--weight-decay", "9"], losses),
    "--schedule": (["--schedule", "linear"], losses),
    "--warmup": (["--warmup", "3"], losses),
    # One factor on all gradients turns no sign of the first steps, but it is in the momentum.
    "--clip": (["--clip", "0.5"], tensors),
    "--eval-every": (["--eval-every", "3"], lambda run: [e["step"] for e in events(run, "eval")]),
    "--save-every": (
        ["--save-every", "5"],
        lambda run: [e["step"] for e in events(run, "checkpoint")],
    ),
    "--set floor": (["--set", "floor=0.9"], losses),
    "--set keep": (
        ["--set", "keep=1"],
        lambda run: len(list(Path(run, "checkpoints").iterdir())),
    ),
    "--set layers": (["--set", "layers=2"], lambda run: events(run, "start")[0]["parameters"]),
    "--set held_out": (["--set", "held_out=0.3"], losses),
    "--set eval_batches": (["--set", "eval_batches=2"], lambda run: events(run, "eval")[0]["loss"]),
    "--set prompt": (["--set", "prompt=xyz"], lambda run: events(run, "sample")[0]["prompt"]),
    "--set sample_bytes": (
        ["--set", "sample_bytes=9"],
        lambda run: events(run, "sample")[0]["text"],
    ),
    "--set temperature": (
        ["--set", "temperature=0"],
        lambda run: events(run, "sample")[0]["text"],
    ),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_every_option_changes_something(small: Any, folder: Path, name: str) -> None:
    (folder / "other.txt").write_text((folder / "text.txt").read_text().upper())
    arguments, look = EFFECTS[name]
    common = ("--set", "sample_bytes=24", "--quiet")
    file = (folder / "small.toml").read_text()
    if name == "--preset":
        # What the file fixes no preset can change: leave it the learning rate only.
        assert "lr" not in file
    assert small("--out", "base", *common).code == 0
    assert small("--out", "changed", *common, *arguments).code == 0
    assert look("base") != look("changed")


def test_quiet_prints_nothing_and_plain_output_prints_steps(small: Any) -> None:
    assert small("--out", "a", "--quiet") == (0, "", "")
    code, out, err = small("--out", "b", "--set", "log_every=3")
    assert (code, err) == (0, "")
    assert [line[:16] for line in out.splitlines() if " tok/s" in line] == [
        "step 00003/00006",
        "step 00006/00006",
    ]
    for shown in ("weights    sha256", "data ", "validation loss", "lion-train sample b"):
        assert shown in out


@pytest.mark.parametrize("backend", ["mlx", pytest.param("jax", marks=pytest.mark.slow)])
def test_no_compile_trains_the_same_model(
    small: Any, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    import jax
    import mlx.core as mx

    compiled = []
    library = {"mlx": mx, "jax": jax}[backend]
    name = {"mlx": "compile", "jax": "jit"}[backend]
    original = getattr(library, name)

    def noted(function: Any, **options: Any) -> Any:
        inner = getattr(function, "func", function)
        if inner.__module__.startswith("lion_ports.trainers"):
            compiled.append(inner)
        return original(function, **options)

    monkeypatch.setattr(library, name, noted)
    assert small("--out", "eager", "--no-compile", backend=backend).code == 0
    assert not compiled
    assert small("--out", "compiled", backend=backend).code == 0
    assert compiled
    assert list(losses("compiled").values()) == pytest.approx(
        list(losses("eager").values()), abs=1e-3
    )


def test_dry_run_checks_everything_and_writes_nothing(small: Any, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    code, out, _ = small("--dry-run", "--out", "run")
    assert code == 0
    assert "embedding.weight" in out
    assert sorted(folder.rglob("*")) == before
    assert small("--dry-run", "--data", "nowhere").code == 5


def test_precedence(lion_train: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(*flags: str) -> str:
        code, out, _ = lion_train(*flags, "config", "show")
        assert code == 0
        return next(line for line in out.splitlines() if line.startswith("lr ="))

    (folder / "lr.toml").write_text("lr = 0.25\n")
    assert shown().split("#")[1] == " preset tiny"
    assert "0.25" in shown("--config", "lr.toml")
    monkeypatch.setenv("LION_TRAIN_LR", "0.5")
    assert "0.5" in shown("--config", "lr.toml")
    assert "0.75" in shown("--config", "lr.toml", "--set", "lr=0.75")
    assert "0.875" in shown("--config", "lr.toml", "--set", "lr=0.75", "--lr", "0.875")


def test_config_show_and_the_config_of_a_run_can_be_read_again(small: Any, lion_train: Any) -> None:
    assert small("--out", "a", "--quiet").code == 0
    assert lion_train("--config", "a/config.toml", "--out", "b", "--quiet").code == 0
    assert tomllib.loads(Path("a/config.toml").read_text()) == tomllib.loads(
        Path("b/config.toml").read_text()
    )
    assert losses("a") == losses("b")


# Files.


def test_a_run_folder_holds_what_scripts_rely_on(small: Any) -> None:
    assert small("--out", "run").code == 0
    assert {p.name for p in Path("run").iterdir()} == {
        ".lock",
        "config.toml",
        "metrics.jsonl",
        "loss.png",
        "checkpoints",
    }
    assert [p.name for p in sorted(Path("run/checkpoints").iterdir())] == [
        "step-00000002",
        "step-00000004",
        "step-00000006",
    ]
    assert {p.name for p in last_checkpoint("run").iterdir()} == {
        "params.safetensors",
        "lion.safetensors",
        "state.json",
        "COMPLETE",
    }
    (start,) = events("run", "start")
    assert {
        "backend",
        "device",
        "versions",
        "parameters",
        "init_sha256",
        "data_sha256",
    } <= start.keys()
    for event in events("run", "train"):
        assert {"loss", "lr", "grad_norm", "tokens_per_s", "ms"} <= event.keys()
    assert list(losses("run")) == list(range(6))
    assert [event["step"] for event in events("run", "eval")] == [0, 2, 4, 6]
    momentum = load_file(last_checkpoint("run") / "lion.safetensors")
    weights = load_file(last_checkpoint("run") / "params.safetensors")
    assert {n: t.shape for n, t in momentum.items()} == {n: t.shape for n, t in weights.items()}
    assert Path("run/loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_folder_is_never_overwritten(small: Any) -> None:
    assert small("--out", "run", "--quiet").code == 0
    before = tensors("run")
    code, _, err = small("--out", "run", "--seed", "1")
    assert code == 2
    assert "lion-train resume run" in err
    assert tensors("run") == before


def test_the_default_folder_names_backend_and_seed(small: Any) -> None:
    assert small("--seed", "7", "--quiet").code == 0
    (run,) = Path("runs").iterdir()
    assert run.name.endswith("-torch-7")


# Commands on a run.


def test_sample_eval_and_plot(small: Any, lion_train: Any) -> None:
    assert small("--out", "run", "--quiet").code == 0
    samples = [lion_train("sample", "run", "--temperature", "0", "--backend", b) for b in BACKENDS]
    assert {sample.code for sample in samples} == {0}
    assert len({sample.out for sample in samples}) == 1
    shown = [lion_train("eval", "run", "--backend", backend) for backend in BACKENDS]
    assert len({result.out for result in shown}) == 1
    final = events("run", "eval")[-1]["loss"]
    assert f"{final:.4f}" in shown[0].out
    assert lion_train("eval", "run", "--max-loss", str(final + 0.01)).code == 0
    assert lion_train("eval", "run", "--max-loss", str(final - 0.01)).code == 1
    assert lion_train("plot", "run", "run", "--out", "both.png").code == 0
    assert Path("both.png").read_bytes().startswith(b"\x89PNG")
    for arguments in (["--seed", "1"], ["--prompt", "x"], ["--bytes", "3"], ["--temperature", "9"]):
        assert lion_train("sample", "run", *arguments).out != lion_train("sample", "run").out


@pytest.mark.slow
def test_doctor_knows_the_three_backends(lion_train: Any) -> None:
    code, out, _ = lion_train("doctor")
    assert code == 0
    for backend in BACKENDS:
        assert any(line.startswith(backend) and "works" in line for line in out.splitlines())


# Errors: one sentence and the documented exit code.


WRONG = {
    "unknown option": (["--stepz", "3"], 2, "--steps"),
    "unknown command": (["trian"], 2, "trian"),
    "unknown preset": (["--preset", "tyny"], 2, "'tiny'"),
    "negative lr": (["--lr", "-1"], 2, "lr = -1.0"),
    "nan lr": (["--lr", "nan"], 2, "lr"),
    "beta of one": (["--betas", "0.9", "1.0"], 2, "betas[1] = 1.0"),
    "signum with two betas": (["--optimizer", "signum", "--betas", ".9", ".8"], 2, "equal betas"),
    "no steps": (["--steps", "0"], 2, "steps"),
    "text for a number": (["--steps", "many"], 2, "steps"),
    "all warm-up": (["--warmup", "99"], 2, "warmup = 99"),
    "width and heads": (["--set", "width=15"], 2, "width = 15"),
    "unknown key": (["--set", "widht=8"], 2, "'width'"),
    "no key": (["--set", "width"], 2, "key=value"),
    "missing config": (["--config", "nowhere.toml"], 2, "nowhere.toml"),
    "config that is not TOML": (["--config", "text.txt"], 2, "not TOML"),
    "unknown backend": (["--backend", "tensorflow"], 2, "'torch'"),
    "missing device": (["--device", "tpu"], 2, "--device tpu"),
    "out is a file": (["--out", "text.txt"], 2, "text.txt"),
    "out in a file": (["--out", "text.txt/run"], 2, "text.txt"),
    "out where nothing can be written": (["--out", "/proc/run"], 2, "/proc/run"),
    "missing data": (["--data", "nowhere"], 5, "nowhere"),
    "empty file": (["--data", "empty.txt"], 5, "is empty"),
    "blank file": (["--data", "blank.txt"], 5, "is empty"),
    "binary file": (["--data", "binary"], 5, "binary file"),
    "not UTF-8": (["--data", "latin.txt"], 5, "0xe9 at offset 3"),
    "too short": (["--data", "short.txt"], 5, "too short"),
    "empty folder": (["--data", "void"], 5, "no text"),
    "no file at all": (["--data", "/dev/null"], 5, "neither"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_sentence(small: Any, folder: Path, name: str) -> None:
    for file, content in {
        "empty.txt": b"",
        "blank.txt": b" \n" * 99,
        "binary": bytes(range(256)) * 9,
        "latin.txt": "caf\xe9 ".encode("latin1") * 99,
        "short.txt": b"a few words",
    }.items():
        (folder / file).write_bytes(content)
    (folder / "void").mkdir()
    before = sorted(folder.rglob("*"))
    arguments, code, said = WRONG[name]
    result = small(*(("--out", "run") if "--out" not in arguments else ()), *arguments)
    assert result.code == code
    assert result.out == ""
    assert said in result.err
    assert len(result.err.splitlines()) == 1
    assert sorted(folder.rglob("*")) == before, "nothing may be left behind"


def test_all_problems_are_reported_at_once(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LION_TRAIN_STEPZ", "3")
    code, _, err = small("--lr", "-1", "--betas", "0.9", "1.0", "--clip", "x", "--set", "a=1")
    assert code == 2
    for said in ("5 problems", "stepz", "'a'", "lr = -1.0", "betas[1]", "clip"):
        assert said in err


def test_options_before_a_command_are_refused(lion_train: Any) -> None:
    code, _, err = lion_train("--steps", "3", "resume", "run")
    assert code == 2
    assert "--steps" in err


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_backend_names_the_pip_command(
    small: Any, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == backend else find_spec(name, *a),
    )
    code, _, err = small(backend=backend)
    assert code == 3
    assert f"pip install 'lion-ports[{backend}]'" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["resume", "sample", "eval", "plot"])
def test_commands_on_something_that_is_no_run(lion_train: Any, folder: Path, command: str) -> None:
    (folder / "void").mkdir()
    for path in ("nowhere", "void", "text.txt"):
        code, out, err = lion_train(command, path)
        assert (code, out, len(err.splitlines())) == (5, "", 1)


def test_a_flipped_byte_is_found_wherever_it_is(small: Any, lion_train: Any) -> None:
    assert small("--out", "run", "--quiet").code == 0
    for file in sorted(last_checkpoint("run").iterdir()):
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            if whole[place] == ord("\n"):
                continue
            flipped = bytes([whole[place] ^ 1])
            file.write_bytes(whole[:place] + flipped + whole[place + 1 :])
            for command in ("resume", "sample", "eval"):
                code, _, err = lion_train(command, "run")
                assert (code, len(err.splitlines())) == (5, 1), (file.name, place)
                assert "step-00000006" in err
        file.write_bytes(whole)
    assert lion_train("eval", "run").code == 0


@pytest.mark.parametrize(
    ("backend", "optimizer"),
    [
        *((backend, "lion") for backend in BACKENDS),
        ("torch", "adamw"),
        pytest.param("jax", "adamw", marks=pytest.mark.slow),
        pytest.param("mlx", "adamw", marks=pytest.mark.slow),
    ],
)
def test_a_gradient_that_is_not_finite_moves_nothing(
    small: Any, lion_train: Any, backend: str, optimizer: str
) -> None:
    wild = ("--lr", "1e30", "--schedule", "constant", "--set", "eval_every=99", "--quiet")
    common = (*wild, "--optimizer", optimizer, "--steps", "3", "--clip", "0", "--warmup", "0")
    code, _, err = small("--out", "stop", *common, backend=backend)
    assert code == 4
    assert "at step 1" in err
    assert "lion-train resume stop" in err
    assert last_checkpoint("stop").name == "step-00000001"
    stopped = {
        name: tensor
        for file in last_checkpoint("stop").glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }
    assert all(np.isfinite(tensor).all() for tensor in stopped.values())
    if backend == "torch":
        assert lion_train("resume", "stop", "--quiet").code == 4
    assert small("--out", "skip", *common, "--nonfinite", "skip", backend=backend).code == 0
    state = json.loads((last_checkpoint("skip") / "state.json").read_text())
    assert (state["step"], state["updates"]) == (3, 1)
    assert len(events("skip", "warning")) == 2
    assert tensors("skip") == tensors("stop")
