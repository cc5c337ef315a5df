"""``lion-train``: what its options do."""

import statistics
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from safetensors import deserialize

BACKENDS = ("torch", "jax", "mlx")


OPTIONS = {
    "train": [
        "--backend --batch-size --betas --clip --compile --config --correction-bits --data",
        "--device --dry-run --dtype --eval-every --help --lr --momentum-dtype --nonfinite",
        "--optimizer --out --preset --quiet --record-gradients --save-every --schedule --seed",
        "--sequence --set --steps --version --warmup --weight-decay",
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
    assert len(found["train"]) <= 30


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


def dtypes(run: Any, name: str) -> str | None:
    """Of a tensor of the optimizer in the newest checkpoint, if it is there."""
    found = deserialize((run.newest() / "lion.safetensors").read_bytes())
    return {key: tensor["dtype"] for key, tensor in found}.get(name)


EFFECTS = {
    "--backend": (["--backend", "mlx"], lambda run: run.events("start")[0]["backend"]),
    "--dtype": (["--dtype", "bfloat16"], lambda run: run.losses()),
    "--preset": (["--preset", "small"], lambda run: run.losses()),
    "--data": (["--data", "other.txt"], lambda run: run.events("start")[0]["data_sha256"]),
    "--seed": (["--seed", "1"], lambda run: run.events("start")[0]["init_sha256"]),
    "--steps": (["--steps", "5"], lambda run: len(run.losses())),
    "--batch-size": (["--batch-size", "3"], lambda run: run.losses()),
    "--sequence": (["--sequence", "12"], lambda run: run.losses()),
    "--optimizer": (["--optimizer", "adamw"], lambda run: run.losses()),
    "--optimizer signum": (["--optimizer", "signum"], lambda run: run.losses()),
    "--lr": (["--lr", "0.002"], lambda run: run.losses()),
    "--betas": (["--betas", "0.5", "0.9"], lambda run: run.losses()),
    "--weight-decay": (["--weight-decay", "9"], lambda run: run.losses()),
    "--momentum-dtype": (["--momentum-dtype", "int8"], lambda run: run.tensors()),
    "--correction-bits": (
        ["--dtype", "bfloat16", "--correction-bits", "8"],
        lambda run: dtypes(run, "correction.norm.weight"),
    ),
    "--schedule": (["--schedule", "linear"], lambda run: run.losses()),
    "--warmup": (["--warmup", "3"], lambda run: run.losses()),
    # One factor on all gradients turns no sign of the first steps, but it is in the momentum.
    "--clip": (["--clip", "0.5"], lambda run: run.tensors()),
    "--eval-every": (["--eval-every", "3"], lambda run: [e["step"] for e in run.events("eval")]),
    "--save-every": (
        ["--save-every", "5"],
        lambda run: [e["step"] for e in run.events("checkpoint")],
    ),
    "--record-gradients": (
        ["--record-gradients", "2"],
        lambda run: Path(run.folder, "gradients.safetensors").exists(),
    ),
    "--set floor": (["--set", "floor=0.9"], lambda run: run.losses()),
    "--set keep": (
        ["--set", "keep=1"],
        lambda run: len(list(Path(run.folder, "checkpoints").iterdir())),
    ),
    "--set layers": (["--set", "layers=2"], lambda run: run.events("start")[0]["parameters"]),
    "--set held_out": (["--set", "held_out=0.3"], lambda run: run.losses()),
    "--set eval_batches": (["--set", "eval_batches=2"], lambda run: run.events("eval")[0]["loss"]),
    "--set prompt": (["--set", "prompt=xyz"], lambda run: run.events("sample")[0]["prompt"]),
    "--set sample_bytes": (
        ["--set", "sample_bytes=9"],
        lambda run: run.events("sample")[0]["text"],
    ),
    "--set temperature": (
        ["--set", "temperature=0"],
        lambda run: run.events("sample")[0]["text"],
    ),
}


COMMON = ("--set", "sample_bytes=24", "--quiet")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def base(small: Any, shared: Path, a_run: Any) -> Any:
    """The run that each option is to change; the first test makes it for all."""
    run = shared / "base"
    if not run.exists():
        assert small("--out", str(run), *COMMON).code == 0
    return a_run(run)


@pytest.mark.parametrize("name", EFFECTS)
def test_every_option_changes_something(
    small: Any, folder: Path, name: str, base: Any, a_run: Any
) -> None:
    (folder / "other.txt").write_text((folder / "text.txt").read_text().upper())
    arguments, look = EFFECTS[name]
    file = (folder / "small.toml").read_text()
    if name == "--preset":
        # What the file fixes no preset can change: leave it the learning rate only.
        assert "lr" not in file
    assert small("--out", "changed", *COMMON, *arguments).code == 0
    assert look(base) != look(a_run("changed"))


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
    start, first_step = out.index("step 00000 validation loss"), out.index("first step Numba")
    assert start < first_step < out.index("step 00002 validation loss")


def test_a_line_shows_the_usual_step_and_not_the_first(small: Any, a_run: Any) -> None:
    _, out, _ = small("--out", "run", "--set", "log_every=6")
    (line,) = [line for line in out.splitlines() if "step 00006/00006" in line]
    times = [event["ms"] for event in a_run("run").events("train")]
    assert f"| {statistics.median(times):.0f} ms |" in line


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


def test_config_show_and_the_config_of_a_run_can_be_read_again(
    small: Any, lion_train: Any, a_run: Any
) -> None:
    assert small("--out", "a", "--quiet").code == 0
    assert lion_train("--config", "a/config.toml", "--out", "b", "--quiet").code == 0
    assert tomllib.loads(Path("a/config.toml").read_text()) == tomllib.loads(
        Path("b/config.toml").read_text()
    )
    assert a_run("a").losses() == a_run("b").losses()
