"""``lion-train``: the files of a run, and the commands on them."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from safetensors import deserialize
from safetensors.numpy import load_file

BACKENDS = ("torch", "jax", "mlx")


@pytest.mark.usefixtures("rendered")
def test_a_run_folder_holds_what_scripts_rely_on(small: Any, a_run: Any) -> None:
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
    assert {p.name for p in a_run("run").newest().iterdir()} == {
        "params.safetensors",
        "lion.safetensors",
        "state.json",
        "COMPLETE",
    }
    (start,) = a_run("run").events("start")
    assert {
        "backend",
        "device",
        "versions",
        "parameters",
        "init_sha256",
        "data_sha256",
    } <= start.keys()
    for event in a_run("run").events("train"):
        assert {"loss", "lr", "grad_norm", "tokens_per_s", "ms"} <= event.keys()
    assert list(a_run("run").losses()) == list(range(6))
    assert [event["step"] for event in a_run("run").events("eval")] == [0, 2, 4, 6]
    momentum = load_file(a_run("run").newest() / "lion.safetensors")
    weights = load_file(a_run("run").newest() / "params.safetensors")
    assert {n: t.shape for n, t in momentum.items()} == {n: t.shape for n, t in weights.items()}
    assert Path("run/loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ((), 8),
        (("--dtype", "bfloat16"), 4),
        (("--momentum-dtype", "int8"), 5 + 2 / 128),
        (("--dtype", "bfloat16", "--momentum-dtype", "float32"), 6),
        (("--dtype", "bfloat16", "--correction-bits", "16"), 6),
        (("--dtype", "bfloat16", "--correction-bits", "8"), 5),
        (
            ("--dtype", "bfloat16", "--correction-bits", "8", "--momentum-dtype", "int8"),
            4 + 2 / 128,
        ),
    ],
)
def test_what_a_parameter_takes_in_a_checkpoint(
    small: Any, a_run: Any, settings: tuple[str, ...], expected: float
) -> None:
    # A width of whole blocks, for a vector of 16 has a scale of its own.
    wide = ("--set", "width=128", "--set", "sample_bytes=0", "--steps", "1", "--warmup", "0")
    result = small("--out", "run", *wide, *settings)
    assert result.code == 0
    newest, (start,) = a_run("run").newest(), a_run("run").events("start")
    held = sum(
        len(tensor["data"])
        for file in ("params.safetensors", "lion.safetensors")
        for _, tensor in deserialize((newest / file).read_bytes())
    )
    assert held / start["parameters"] == pytest.approx(expected, abs=1e-12)
    said = f"{expected:.2f} bytes a parameter"
    assert (said in result.out) == bool({"--momentum-dtype", "--correction-bits"} & {*settings})


def test_a_run_folder_is_never_overwritten(small: Any, a_run: Any) -> None:
    assert small("--out", "run", "--quiet").code == 0
    before = a_run("run").tensors()
    code, _, err = small("--out", "run", "--seed", "1")
    assert code == 2
    assert "lion-train resume run" in err
    assert a_run("run").tensors() == before


def test_the_default_folder_names_backend_and_seed(small: Any) -> None:
    assert small("--seed", "7", "--quiet").code == 0
    (run,) = Path("runs").iterdir()
    assert run.name.endswith("-torch-7")


@pytest.mark.usefixtures("rendered")
def test_sample_eval_and_plot(small: Any, lion_train: Any, a_run: Any) -> None:
    assert small("--out", "run", "--quiet").code == 0
    samples = [lion_train("sample", "run", "--temperature", "0", "--backend", b) for b in BACKENDS]
    assert {sample.code for sample in samples} == {0}
    assert len({sample.out for sample in samples}) == 1
    shown = [lion_train("eval", "run", "--backend", backend) for backend in BACKENDS]
    assert len({result.out for result in shown}) == 1
    final = a_run("run").events("eval")[-1]["loss"]
    assert f"{final:.4f}" in shown[0].out
    assert lion_train("eval", "run", "--max-loss", str(final + 0.01)).code == 0
    assert lion_train("eval", "run", "--max-loss", str(final - 0.01)).code == 1
    assert lion_train("plot", "run", "run", "--out", "both.png").code == 0
    assert Path("both.png").read_bytes().startswith(b"\x89PNG")
    usual = lion_train("sample", "run").out
    for arguments in (["--seed", "1"], ["--prompt", "x"], ["--bytes", "3"], ["--temperature", "9"]):
        assert lion_train("sample", "run", *arguments).out != usual


@pytest.mark.slow
def test_doctor_knows_the_three_backends(lion_train: Any) -> None:
    code, out, _ = lion_train("doctor")
    assert code == 0
    for backend in BACKENDS:
        assert any(line.startswith(backend) and "works" in line for line in out.splitlines())
    assert f"Numba {version('numba')}" in out
