"""The three engines: one model, one gradient, one step."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from usual import slow, usually

from lion_ports.trainers.architecture import Architecture, decays
from lion_ports.trainers.engine import BACKENDS, Engine, EngineSettings, build_engine
from lion_ports.trainers.errors import DataError
from lion_ports.trainers.init import initial_parameters

ARCHITECTURE = Architecture(layers=2, width=24, heads=2, hidden=40, sequence=12)
SETTINGS = EngineSettings(ARCHITECTURE, "lion", (0.95, 0.98), weight_decay=0.5, clip=0.25)
LR = 2.0**-10


@pytest.fixture(scope="module")
def parameters() -> dict[str, Any]:
    """Norm gains other than 1, so that a gain forgotten somewhere shows."""
    weights = dict(initial_parameters(ARCHITECTURE, seed=3))
    for name, tensor in weights.items():
        if tensor.ndim == 1:
            weights[name] = np.linspace(0.5, 1.5, tensor.size, dtype=np.float32)
    return weights


@pytest.fixture(scope="module")
def tokens() -> Any:
    return np.random.Generator(np.random.Philox(5)).integers(0, 256, (4, 13)).astype(np.int32)


@pytest.fixture(scope="module")
def engines(parameters: dict[str, Any]) -> dict[str, Engine]:
    return {backend: build_engine(backend, SETTINGS, parameters) for backend in BACKENDS}


def reference_logits(weights: dict[str, Any], tokens: Any) -> Any:
    """The model in float64 NumPy, straight from its description."""
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    heads, size = ARCHITECTURE.heads, ARCHITECTURE.head_size

    def norm(x: Any, gain: Any) -> Any:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * gain

    def turn(x: Any) -> Any:
        # A pair (i, i + size / 2) is a complex number that is turned by position * frequency.
        pairs = x[..., : size // 2] + 1j * x[..., size // 2 :]
        frequencies = 10_000.0 ** (-2 * np.arange(size // 2) / size)
        pairs = pairs * np.exp(1j * np.arange(x.shape[2])[:, None] * frequencies)
        return np.concatenate([pairs.real, pairs.imag], -1)

    x = w["embedding.weight"][tokens]
    for i in range(ARCHITECTURE.layers):
        b = f"blocks.{i}."
        qkv = norm(x, w[b + "attention_norm.weight"]) @ w[b + "attention.qkv.weight"].T
        q, k, v = (
            part.reshape(*part.shape[:2], heads, size).swapaxes(1, 2)
            for part in np.split(qkv, 3, -1)
        )
        scores = turn(q) @ turn(k).swapaxes(-1, -2) / np.sqrt(size)
        scores[..., np.triu(np.ones(scores.shape[-2:], bool), 1)] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ v
        x = x + mixed.swapaxes(1, 2).reshape(x.shape) @ w[b + "attention.out.weight"].T
        h = norm(x, w[b + "feedforward_norm.weight"])
        gate = h @ w[b + "feedforward.gate.weight"].T
        up = h @ w[b + "feedforward.up.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[b + "feedforward.down.weight"].T
    return norm(x, w["norm.weight"]) @ w["embedding.weight"].T


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_are_those_of_the_description(
    engines: dict[str, Engine], parameters: dict[str, Any], tokens: Any, backend: str
) -> None:
    logits = engines[backend].logits(tokens[:, :-1])
    expected = reference_logits(parameters, tokens[:, :-1])
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    shifted = expected - expected.max(-1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_shares, tokens[:, 1:, None], -1)
    assert engines[backend].loss(tokens) == pytest.approx(-chosen.mean(), abs=1e-5)


def test_gradients_agree(engines: dict[str, Engine], tokens: Any) -> None:
    gradients = {backend: engine.gradients(tokens) for backend, engine in engines.items()}
    for name, shape in ARCHITECTURE.shapes().items():
        expected = gradients["torch"][name]
        assert expected.shape == shape
        assert np.abs(expected).max() > 1e-3
        for backend in ("jax", "mlx"):
            np.testing.assert_allclose(gradients[backend][name], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_logit_sees_no_later_byte(engines: dict[str, Engine], tokens: Any, backend: str) -> None:
    window = tokens[:, :-1]
    changed = window.copy()
    changed[:, 7:] = (changed[:, 7:] + 1) % 256
    before, after = (engines[backend].logits(one) for one in (window, changed))
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert np.abs(before[:, 7:] - after[:, 7:]).max() > 1e-3


def clipped(engine: Engine, tokens: Any, limit: float) -> dict[str, Any]:
    gradients = engine.gradients(tokens)
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients.values()))
    assert norm > limit, "the limit must bite"
    return {name: g * (limit / norm) for name, g in gradients.items()}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_lion_step_from_its_equations(
    parameters: dict[str, Any], tokens: Any, backend: str
) -> None:
    engine = build_engine(backend, SETTINGS, parameters)
    gradients = clipped(engine, tokens, 0.25)
    result = engine.train_step(tokens, LR)
    assert result.nonfinite == ()
    after, momentum = engine.parameters(), engine.optimizer_state()
    for name, start in parameters.items():
        decay = 0.5 if decays(start.shape) else 0.0
        expected = start - LR * (np.sign(gradients[name]) + decay * start)
        sure = np.abs(gradients[name]) > 1e-6
        np.testing.assert_allclose(after[name][sure], expected[sure], rtol=0, atol=1e-6)
        np.testing.assert_allclose(momentum[name], 0.02 * gradients[name], rtol=0, atol=1e-7)


@pytest.mark.parametrize("backend", usually(["torch", "mlx"], BACKENDS))
def test_two_adamw_steps_from_their_equations(
    parameters: dict[str, Any], tokens: Any, backend: str
) -> None:
    settings = replace(SETTINGS, optimizer="adamw", betas=(0.9, 0.95))
    engine = build_engine(backend, settings, parameters)
    m: Any = dict.fromkeys(parameters, 0.0)
    v: Any = dict.fromkeys(parameters, 0.0)
    for step in (1, 2):
        before, gradients = engine.parameters(), clipped(engine, tokens, 0.25)
        engine.train_step(tokens, LR)
        after = engine.parameters()
        for name, g in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.95 * v[name] + 0.05 * g**2
            size = m[name] / (1 - 0.9**step)
            size = size / (np.sqrt(v[name] / (1 - 0.95**step)) + 1e-8)
            decay = 0.5 if decays(g.shape) else 0.0
            expected = before[name] - LR * (size + decay * before[name])
            sure = np.abs(g) > 1e-5
            np.testing.assert_allclose(after[name][sure], expected[sure], rtol=0, atol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_state_goes_out_and_in_again(parameters: dict[str, Any], tokens: Any, backend: str) -> None:
    first = build_engine(backend, SETTINGS, parameters)
    first.train_step(tokens, LR)
    second = build_engine(backend, SETTINGS, parameters)
    second.load(first.parameters(), first.optimizer_state(), 1)
    for one, other in (
        (first.parameters(), second.parameters()),
        (first.optimizer_state(), second.optimizer_state()),
    ):
        assert list(one) == list(parameters)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert first.train_step(tokens, LR) == second.train_step(tokens, LR)
    for name, tensor in first.parameters().items():
        np.testing.assert_array_equal(tensor, second.parameters()[name])


@pytest.mark.parametrize("backend", BACKENDS)
def test_copies_are_copies(parameters: dict[str, Any], tokens: Any, backend: str) -> None:
    engine = build_engine(backend, SETTINGS, parameters)
    kept = engine.parameters()
    engine.train_step(tokens, LR)
    for name, tensor in kept.items():
        np.testing.assert_array_equal(tensor, parameters[name])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_tensor_that_is_not_finite_is_named(
    parameters: dict[str, Any], tokens: Any, backend: str
) -> None:
    # An enormous last gain makes logits whose gradient is finite, except with respect to it.
    broken = parameters | {"norm.weight": np.full_like(parameters["norm.weight"], 1e38)}
    engine = build_engine(backend, SETTINGS, broken)
    result = engine.train_step(tokens, LR)
    assert result.nonfinite
    assert set(result.nonfinite) <= set(parameters)
    for name, tensor in engine.parameters().items():
        np.testing.assert_array_equal(tensor, broken[name])
    assert not any(tensor.any() for tensor in engine.optimizer_state().values())


@pytest.mark.parametrize("backend", ["torch", "mlx", slow("jax")])
def test_bfloat16_is_kept_from_end_to_end(
    parameters: dict[str, Any], tokens: Any, backend: str
) -> None:
    # MLX compiles each kernel with the C++ compiler, which takes longer than all the rest.
    settings = replace(SETTINGS, dtype="bfloat16", compile=backend != "mlx")
    engine = build_engine(backend, settings, parameters)
    exact = build_engine(backend, SETTINGS, parameters).loss(tokens)
    assert engine.train_step(tokens, LR).loss == pytest.approx(exact, abs=0.05)
    for tensors in (engine.parameters(), engine.optimizer_state()):
        assert {str(tensor.dtype) for tensor in tensors.values()} == {"bfloat16"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_wrong_tensors_are_refused(
    engines: dict[str, Engine], parameters: dict[str, Any], backend: str
) -> None:
    without = {name: t for name, t in parameters.items() if name != "norm.weight"}
    wider = parameters | {"norm.weight": np.ones(25, np.float32)}
    for wrong, said in (
        (without, "'norm.weight' is missing"),
        (wider, "shape"),
        (parameters | {"bias": np.ones(1, np.float32)}, "lacks: 'bias'"),
    ):
        with pytest.raises(DataError, match=said):
            engines[backend].load(wrong, wrong, 0)


@pytest.mark.slow
def test_twenty_default_steps_agree(tmp_path: Any) -> None:
    """What the three print with default settings: 1e-5 at first, 1e-3 after 20 steps."""
    import json
    import subprocess
    import sys

    run = "from lion_ports.cli import train; train()"
    losses = {}
    for backend in BACKENDS:
        flags = ["--backend", backend, "--out", str(tmp_path / backend), "--quiet"]
        # The first 21 steps of the default schedule, not a schedule of 21 steps.
        flags += ["--steps", "21", "--warmup", "20", "--set", "sample_bytes=0"]
        subprocess.run([sys.executable, "-c", run, *flags], check=True, cwd=tmp_path)
        lines = (tmp_path / backend / "metrics.jsonl").read_text().splitlines()
        losses[backend] = [e["loss"] for e in map(json.loads, lines) if e["event"] == "train"]
    for backend in BACKENDS:
        assert losses[backend][0] == pytest.approx(losses["torch"][0], abs=1e-5)
        assert losses[backend][20] == pytest.approx(losses["torch"][20], abs=1e-3)


@pytest.mark.parametrize("backend", usually(["torch", "mlx"], BACKENDS))
def test_looking_at_a_fresh_optimizer_changes_no_step(
    parameters: dict[str, Any], tokens: Any, backend: str
) -> None:
    looked_at, other = (build_engine(backend, SETTINGS, parameters) for _ in range(2))
    assert all((tensor == 0).all() for tensor in looked_at.optimizer_state().values())
    if backend == "torch":
        assert not vars(looked_at)["_optimizer"].state
    for engine in (looked_at, other):
        engine.train_step(tokens, LR)
    for name, tensor in other.parameters().items():
        np.testing.assert_array_equal(looked_at.parameters()[name], tensor)
