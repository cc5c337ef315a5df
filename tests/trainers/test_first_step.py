"""What the engines say of their slow first step, and ``lion-train doctor`` of Numba."""

import sys
from dataclasses import replace
from typing import Any

import jax
import pytest

from lion_ports.trainers.architecture import Architecture
from lion_ports.trainers.engine import EngineSettings, build_engine
from lion_ports.trainers.init import initial_parameters
from lion_ports.trainers.mlx import blas
from lion_ports.trainers.torch import engine as torch_engine
from lion_ports.trainers.torch import kernels

ARCHITECTURE = Architecture(layers=1, width=16, heads=2, hidden=24, sequence=8)
SETTINGS = EngineSettings(ARCHITECTURE, "lion", (0.9, 0.99), 0.0, 0.0, device="cpu")


def first_step(backend: str, **others: Any) -> str:
    weights = dict(initial_parameters(ARCHITECTURE, seed=0))
    return build_engine(backend, replace(SETTINGS, **others), weights).first_step


def test_torch_speaks_of_numba_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Numba compiles Lion" in first_step("torch")
    assert first_step("torch", optimizer="adamw") == ""
    monkeypatch.setattr(torch_engine, "find_spec", lambda name: None)
    assert first_step("torch") == ""


def test_jax_says_where_the_step_is_kept_and_how_to_keep_it() -> None:
    assert "JAX compiles each operation" in first_step("jax", compile=False)
    assert "JAX_COMPILATION_CACHE_DIR" in first_step("jax")
    config: Any = jax.config
    before = config.jax_compilation_cache_dir
    config.update("jax_compilation_cache_dir", "/kept/here")
    try:
        assert first_step("jax").endswith("takes it from /kept/here")
    finally:
        config.update("jax_compilation_cache_dir", before)


def test_mlx_speaks_of_its_kernels() -> None:
    assert "MLX compiles" in first_step("mlx")


def test_mlx_warns_of_bfloat16_where_only_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    def notes(system: str, dtype: str) -> tuple[str, ...]:
        monkeypatch.setattr(blas, "slow_bfloat16", lambda: system == "Linux")
        weights = dict(initial_parameters(ARCHITECTURE, seed=0))
        return build_engine("mlx", replace(SETTINGS, dtype=dtype), weights).notes

    monkeypatch.setattr(blas, "slow", lambda: False)
    assert any("bfloat16" in note for note in notes("Linux", "bfloat16"))
    assert notes("Linux", "float32") == notes("Darwin", "bfloat16") == ()


def test_numba_that_is_missing_or_broken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = kernels.has_kernel.__wrapped__
    monkeypatch.setattr(kernels, "has_kernel", fresh)
    assert kernels.description().startswith("Numba ")
    monkeypatch.setitem(sys.modules, "lion_ports.torch.cpu_kernel", None)
    broken = kernels.description()
    assert "which is broken" in broken
    assert "pip install '.[torch]'" in broken
    monkeypatch.setitem(fresh.__globals__, "find_spec", lambda name: None)
    missing = kernels.description()
    assert "not installed" in missing
    assert "pip install '.[torch]'" in missing
