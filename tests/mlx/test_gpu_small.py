"""The kernel for small state on a GPU (L-031, L-032), run on the CPU as in test_gpu.py."""

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest
from mlx_kernels import (
    CONTRACTING,
    LANGUAGES,
    assert_no_pointer_is_made,
    in_turn,
    needs_fma,
    needs_gpp,
    needs_metal,
    needs_nvcc,
    on_the_cpu,
    ptx,
    without_zero,
)
from mlx_small import INT8, RUNS, replay
from small_state import stream

from lion_ports import reference
from lion_ports.config import LION, Scalars
from lion_ports.conformance.bits import same
from lion_ports.mlx import gpu, gpu_small
from lion_ports.mlx.scalars import rounded
from lion_ports.mlx.state import from_numpy, to_numpy

MIXTURES = [  # parameter, gradient, momentum, correction
    ("float32", "float32", "int8", None),
    ("float32", "bfloat16", "int8", None),
    ("float16", "float16", "int8", None),
    ("bfloat16", "float32", "int8", None),
    ("bfloat16", "bfloat16", "int8", "int8"),
    ("bfloat16", "float16", "int8", "int16"),
    ("bfloat16", "bfloat16", "bfloat16", "int16"),
    ("bfloat16", "float16", "float32", "int8"),
]
SMALL = MIXTURES[4]
DECAY = Scalars(2.0**-7 * 1.1, 0.95, 0.98, 0.1)
BEFORE = (1 << 32) + 77
TAKEN = [run for run in RUNS if "cautious" not in run[1]]

languages = pytest.mark.parametrize("language", LANGUAGES)


def any_bits(rng, dtype, size):
    """Ordinary numbers, and a quarter of any bits at all: NaN, infinities, subnormal numbers."""
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    drawn = rng.integers(0, 256, size * dtype.itemsize, np.uint8).view(dtype)
    if dtype.kind == "i":
        return drawn
    normal = rng.standard_normal(size).astype(dtype)
    normal[1::9] = 0
    return np.where(rng.random(size) < 0.25, drawn, normal)


def parts(dtypes, size):
    """A parameter, its gradient and what is kept beside it, with scales from least to largest."""
    rng = np.random.Generator(np.random.Philox(size))
    x, g, m, correction = (None if d is None else any_bits(rng, d, size) for d in dtypes)
    kept = {"m": m, "correction": correction}
    if m.dtype == np.int8:
        exponents = rng.integers(16, 255, -(-size // 128), np.uint16)
        exponents[1:2], exponents[2:3], exponents[3:4] = 254, 16, 127
        g[256:384] = 0  # the least numbers that there are
        g[384:512] = rng.standard_normal(g[384:512].size)  # ordinary ones alone
        m[384:512] //= 2
        kept["m_scale"] = (exponents << 7).view(ml_dtypes.bfloat16)
    return x, g, {name: a for name, a in kept.items() if a is not None}


def moved(x, g, kept, moves=None, scalars=DECAY):
    """By the kernel: the new parameter, as ``"x"``, and what is kept beside it."""
    slots = {name: from_numpy(a) for name, a in kept.items()}
    numbers, before = rounded(scalars, mx.float32), mx.array(BEFORE, mx.uint64)
    new = gpu_small.move(from_numpy(x), from_numpy(g), slots, numbers, before, moves)
    return {name: to_numpy(a) for name, a in {"x": new, **slots}.items()}


def expected(x, g, kept, scalars=DECAY):
    """By the reference."""
    with np.errstate(all="ignore"):
        m, correction, scales = (kept.get(n) for n in ("m", "correction", "m_scale"))
        whole = x if correction is None else reference.join(x, correction)
        m = m if scales is None else reference.decode(m, scales)
        made = dict(zip(("x", "m"), reference.lion_update(whole, g, m, scalars), strict=True))
        if scales is not None:
            made["m"], made["m_scale"] = reference.encode(made["m"], BEFORE)
        if correction is not None:
            bits = 8 * correction.itemsize
            made["x"], made["correction"] = reference.split(made["x"], bits, BEFORE)
    return made


def differences(found, wanted):
    assert found.keys() == wanted.keys()
    for name, a in wanted.items():
        assert (found[name].dtype, found[name].shape) == (a.dtype, a.shape), name
    return {n: int((~same(found[n], a)).sum()) for n, a in wanted.items()}


def assert_bits(x, g, kept):
    assert set(differences(moved(x, g, kept), expected(x, g, kept)).values()) == {0}


@needs_gpp
@pytest.mark.parametrize(("dtypes", "language"), in_turn(MIXTURES))
def test_floats_of_any_bits(dtypes, language, tmp_path, monkeypatch):
    on_the_cpu(monkeypatch, tmp_path, language)
    assert_bits(*parts(dtypes, 2029))


@needs_gpp
@pytest.mark.parametrize(("dtypes", "language"), in_turn([SMALL, MIXTURES[-1]]))
def test_tails(dtypes, language, tmp_path, monkeypatch):
    on_the_cpu(monkeypatch, tmp_path, language)
    for size in (1, 2, 7, 8, 31, 33, 127, 128, 129, 255, 257, 895, 897, 1024):
        assert_bits(*parts(dtypes, size))


@needs_gpp
@languages
def test_shapes(language, tmp_path, monkeypatch):
    on_the_cpu(monkeypatch, tmp_path, language)
    for shape in ((), (1, 1), (3, 43), (2, 3, 5, 13)):
        x, g, kept = parts(SMALL, int(np.prod(shape)))
        kept |= {n: kept[n].reshape(shape) for n in ("m", "correction")}
        assert_bits(x.reshape(shape), g.reshape(shape), kept)


@needs_gpp
def test_scalars(tmp_path, monkeypatch):
    """Without decay an infinite parameter stays one (L-009); the largest momentum has a code."""
    on_the_cpu(monkeypatch, tmp_path, "metal")
    for scalars in (Scalars(1e-2, 0.9, 0.0, 0.0), Scalars(1e-2, 0.0, 0.99, 1e-3, 0.02)):
        x, g, kept = parts(SMALL, 300)
        x[:3], g[:1] = (np.inf, -np.inf, np.nan), ml_dtypes.finfo(g.dtype).max
        found = moved(x, g, kept, scalars=scalars)
        assert set(differences(found, expected(x, g, kept, scalars)).values()) == {0}


@needs_gpp
@pytest.mark.parametrize(("dtypes", "language"), in_turn(MIXTURES, first=1, every=4))
def test_what_does_not_move_keeps_every_bit(dtypes, language, tmp_path, monkeypatch):
    on_the_cpu(monkeypatch, tmp_path, language)
    x, g, kept = parts(dtypes, 1021)
    stays, goes = moved(x, g, kept, mx.array(False)), moved(x, g, kept, mx.array(True))
    for name, a in {"x": x, **kept}.items():
        assert stays[name].tobytes() == a.tobytes(), name
    assert set(differences(goes, expected(x, g, kept)).values()) == {0}


@needs_gpp
@pytest.mark.parametrize(("run", "language"), in_turn(TAKEN, every=2))
def test_runs_equal_the_reference(run, language, tmp_path, monkeypatch):
    dtype, options = run
    sources = on_the_cpu(monkeypatch, tmp_path, language)
    monkeypatch.setattr(gpu, "USED", True)
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    params, grads = stream(dtype, 6)
    replay(params, grads, options, compiled=False)
    assert len(sources) >= len(grads)


@needs_gpp
@needs_fma
@pytest.mark.parametrize("edit", [None, without_zero], ids=["zero", "none"])
def test_a_compiler_that_contracts_finds_nothing_to_contract(edit, tmp_path, monkeypatch):
    on_the_cpu(monkeypatch, tmp_path, "metal", flags=CONTRACTING, edit=edit)
    x, g, kept = parts(("bfloat16", "bfloat16", "int8", "int16"), 20_000)
    contracted = differences(moved(x, g, kept), expected(x, g, kept))
    assert (sum(contracted.values()) > 0) == (edit is not None)


@pytest.mark.parametrize("size", [1, 7, 8, 896, 897])
def test_metal_finds_its_inputs_in_the_address_space_it_is_told(size, tmp_path, monkeypatch):
    sources = on_the_cpu(monkeypatch, tmp_path, "metal", runs=False)
    moved(*parts(SMALL, size))
    space = "constant" if size < 8 else "device"
    types = {"x": "uint16_t", "g": "bfloat16_t", "m": "int8_t", "correction": "int8_t"}
    for name, of in types.items():
        assert f"const {space} {of}* {name} " in sources[0]
    assert f"const {'device' if size == 897 else 'constant'} uint16_t* m_scale " in sources[0]
    assert "const constant uint64_t* before " in sources[0]
    assert "const constant bool* moves " in sources[0]
    assert_no_pointer_is_made(sources[0])


@needs_nvcc
@pytest.mark.parametrize(
    "dtypes",
    [
        pytest.param(dtypes, marks=[] if dtypes in (SMALL, MIXTURES[-1]) else [pytest.mark.slow])
        for dtypes in MIXTURES
    ],
    ids=lambda dtypes: "-".join(map(str, dtypes)),
)
def test_nvcc_fuses_no_product_and_sum(dtypes, tmp_path, monkeypatch):
    sources = on_the_cpu(monkeypatch, tmp_path, "cuda", runs=False)
    moved(*parts(dtypes, 300))
    program = ptx(sources[0], tmp_path)
    assert "fma" not in program
    assert ("shfl.sync.bfly" in program) == (dtypes[2] == "int8")


def test_the_choice(monkeypatch):
    x, m = mx.zeros(8, mx.bfloat16), mx.zeros(8, mx.int8)
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    monkeypatch.setattr(gpu, "USED", True)
    codes = {"m": m, "m_scale": mx.ones(1, mx.bfloat16)}
    corrected = {"m": x, "correction": m}
    assert gpu_small.takes(LION, x, x, codes)
    assert gpu_small.takes(LION, x, x, corrected)
    assert gpu_small.takes(LION, x, x, codes | {"correction": m})
    assert not gpu_small.takes(LION, x, x, {"m": x})
    assert not gpu_small.takes(LION, x, x.astype(mx.int32), codes)
    assert not gpu_small.takes(LION._replace(cautious=True), x, x, codes)
    monkeypatch.setattr(gpu, "USED", False)
    assert not gpu_small.takes(LION, x, x, codes)


@needs_metal
@pytest.mark.parametrize("used", [False, True], ids=["operations", "kernel"])
@pytest.mark.parametrize(("dtype", "options"), RUNS, ids=str)
def test_on_metal(dtype, options, used, monkeypatch):
    monkeypatch.setattr(gpu, "USED", used)
    mx.set_default_device(mx.gpu)
    replay(*stream(dtype, 6), options, compiled=False)


@needs_metal
def test_one_trace_on_metal(monkeypatch):
    monkeypatch.setattr(gpu, "USED", True)
    mx.set_default_device(mx.gpu)
    options = INT8 | {"correction_bits": 8, "nonfinite": "skip"}
    assert replay(*stream("bfloat16", 6), options, compiled=True) == 2
