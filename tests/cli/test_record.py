"""``lion-train --record-gradients``: what the optimizer was given, bit for bit."""

from pathlib import Path
from typing import Any

import pytest

from lion_ports import LionConfig, reference
from lion_ports.streams import GradientStream, load_stream
from lion_ports.trainers import checkpoint

FILE = "gradients.safetensors"
# JAX compiles the step a second time, and that takes longer than all the rest.
BACKENDS = ("torch", "mlx", pytest.param("jax", marks=pytest.mark.slow))


def replayed(stream: GradientStream) -> tuple[dict[str, Any], Any]:
    """Parameters and momentum after the reference has taken the stream's steps."""
    config = LionConfig(betas=stream.betas, weight_decay=stream.weight_decay)
    params, state = dict(stream.parameters), reference.init(stream.parameters, config)
    mask = {name: name not in stream.undecayed for name in params}
    for grads, lr in zip(stream.gradients, stream.rates, strict=True):
        params, state = reference.step(params, grads, state, config, lr=lr, mask=mask)
    return params, state.momentum


def bits(tensors: dict[str, Any]) -> dict[str, bytes]:
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        ("torch", "float32"),
        ("torch", "bfloat16"),
        pytest.param("jax", "bfloat16", marks=pytest.mark.slow),
        ("mlx", "float32"),
    ],
)
def test_the_reference_makes_the_run_again_from_its_recorded_gradients(
    small: Any, backend: str, dtype: str
) -> None:
    arguments = ("--record-gradients", "4", "--dtype", dtype, "--clip", "0.5", "--quiet")
    assert small("--out", "run", *arguments, backend=backend).code == 0
    stream = load_stream(Path("run", FILE))
    assert len(stream) == 4
    assert stream.source["backend"] == backend
    assert set(stream.undecayed) == {n for n, x in stream.parameters.items() if x.ndim < 2}
    params, momentum = replayed(stream)
    fourth = checkpoint.load(Path("run", "checkpoints", "step-00000004"))
    assert bits(fourth.parameters) == bits(params)
    assert bits(fourth.optimizer_state) == bits(momentum)


@pytest.mark.parametrize("backend", BACKENDS)
def test_to_look_on_changes_nothing(small: Any, a_run: Any, backend: str) -> None:
    assert small("--out", "run", "--record-gradients", "4", "--quiet", backend=backend).code == 0
    assert small("--out", "plain", "--quiet", backend=backend).code == 0
    assert a_run("plain").tensors() == a_run("run").tensors()
    assert not Path("plain", FILE).exists()


def test_a_longer_recording_than_the_run_ends_with_it_and_resume_leaves_it(
    small: Any, lion_train: Any
) -> None:
    assert small("--out", "run", "--record-gradients", "99", "--quiet").code == 0
    assert len(load_stream(Path("run", FILE))) == 6
    before = Path("run", FILE).read_bytes()
    assert lion_train("resume", "run", "--steps", "8", "--quiet").code == 0
    assert Path("run", FILE).read_bytes() == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_that_was_left_out_is_not_in_the_stream(small: Any, backend: str) -> None:
    wild = ("--lr", "1e30", "--schedule", "constant", "--clip", "0", "--warmup", "0", "--quiet")
    arguments = (*wild, "--steps", "3", "--record-gradients", "3")
    assert small("--out", "skip", "--nonfinite", "skip", *arguments, backend=backend).code == 0
    assert len(load_stream(Path("skip", FILE))) == 1
    # A run that ends early leaves what there was until then.
    assert small("--out", "stop", *arguments, backend=backend).code == 4
    (skipped,), (stopped,) = (load_stream(Path(out, FILE)).gradients for out in ("skip", "stop"))
    assert bits(dict(skipped)) == bits(dict(stopped))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--record-gradients", "-1"), "record_gradients"),
        (("--record-gradients", "some"), "record_gradients"),
        (("--record-gradients", "3", "--optimizer", "adamw"), "is for lion and signum"),
    ],
)
def test_a_number_that_is_none_gets_one_sentence(
    small: Any, arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = small("--out", "run", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert not Path("run").exists()
