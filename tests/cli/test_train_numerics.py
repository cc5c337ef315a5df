"""``lion-train``: compiled or not, finite or not."""

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from usual import slow, usually

BACKENDS = ("torch", "jax", "mlx")


@pytest.mark.parametrize("backend", ["mlx", slow("jax")])
def test_no_compile_trains_the_same_model(
    small: Any, monkeypatch: pytest.MonkeyPatch, backend: str, a_run: Any
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
    assert list(a_run("compiled").losses().values()) == pytest.approx(
        list(a_run("eager").losses().values()), abs=1e-3
    )


@pytest.mark.parametrize(
    ("backend", "optimizer"),
    [
        *((backend, "lion") for backend in BACKENDS),
        ("torch", "adamw"),
        slow("jax", "adamw"),
        slow("mlx", "adamw"),
    ],
)
def test_a_gradient_that_is_not_finite_moves_nothing(
    small: Any, lion_train: Any, backend: str, optimizer: str, a_run: Any
) -> None:
    wild = ("--lr", "1e30", "--schedule", "constant", "--set", "eval_every=99", "--quiet")
    common = (*wild, "--optimizer", optimizer, "--steps", "3", "--clip", "0", "--warmup", "0")
    code, _, err = small("--out", "a stop", *common, backend=backend)
    assert code == 4
    assert "at step 1" in err
    assert "lion-train resume 'a stop'" in err
    assert a_run("a stop").newest().name == "step-00000001"
    stopped = {
        name: tensor
        for file in a_run("a stop").newest().glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }
    assert all(np.isfinite(tensor).all() for tensor in stopped.values())
    if backend == "torch":
        assert lion_train("resume", "a stop", "--quiet").code == 4
    assert small("--out", "skip", *common, "--nonfinite", "skip", backend=backend).code == 0
    state = json.loads((a_run("skip").newest() / "state.json").read_text())
    assert (state["step"], state["updates"]) == (3, 1)
    assert len(a_run("skip").events("warning")) == 2
    assert a_run("skip").tensors() == a_run("a stop").tensors()


@pytest.mark.parametrize("optimizer", ["lion", "adamw"])
def test_a_good_step_after_skipped_ones_and_a_save(
    small: Any, monkeypatch: pytest.MonkeyPatch, a_run: Any, optimizer: str
) -> None:
    from lion_ports.trainers.torch import engine

    loss, calls = engine.loss, []

    def infinite_twice(model: Any, tokens: Any) -> Any:
        import torch

        value = loss(model, tokens)
        if torch.is_grad_enabled():
            calls.append(value)
        return value * float("inf") if torch.is_grad_enabled() and len(calls) <= 2 else value

    monkeypatch.setattr(engine, "loss", infinite_twice)
    settings = ("--nonfinite", "skip", "--optimizer", optimizer, "--quiet")
    code, _, err = small("--out", "run", *settings)
    assert code == 0
    assert len(err.splitlines()) == 2
    state = json.loads((a_run("run").newest() / "state.json").read_text())
    assert (state["step"], state["updates"]) == (6, 4)


@pytest.mark.parametrize("backend", usually(["torch", "mlx"], BACKENDS))
def test_weights_that_overflow_at_the_last_step(
    small: Any, lion_train: Any, a_run: Any, backend: str
) -> None:
    wild = ("--lr", "1e3", "--weight-decay", "1e38", "--steps", "1", "--warmup", "0", "--quiet")
    code, _, err = small("--out", "run", *wild, backend=backend)
    assert code == 4
    # Where another test has imported MLX, no fast BLAS can be loaded any more, and it says so.
    validation, sampling = [line for line in err.splitlines() if "MLX multiplies" not in line]
    assert "the validation loss at step 1 is not finite" in validation
    assert "nothing can be sampled" in sampling
    assert a_run("run").events()[-1]["event"] == "end"
    assert a_run("run").folder.joinpath("loss.png").exists()
    for temperature in ("0", "1"):
        code, out, err = lion_train("sample", "run", "--temperature", temperature)
        assert (code, out, len(err.splitlines())) == (4, "", 1)


def test_temperatures_that_divide_nothing(small: Any, lion_train: Any) -> None:
    assert small("--out", "run", "--quiet").code == 0
    for temperature in ("nan", "inf", "-1", "1e-320", "warm"):
        code, out, err = lion_train("sample", "run", "--temperature", temperature)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert "temperature" in err
