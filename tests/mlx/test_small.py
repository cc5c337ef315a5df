"""Small state: a momentum of 8 bits (L-031) and corrections of bfloat16 (L-032)."""

import copy
from dataclasses import replace

import ml_dtypes
import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map, tree_unflatten
from mlx_small import AVERAGED, INT8, RUNS, assert_same, assert_step_is_due, held, replay, tensors
from small_state import LR, stream

from lion_ports import ConfigError, LionConfig, StateError, load_state, reference, save_state
from lion_ports.mlx import Lion, export_state, import_state
from lion_ports.mlx.state import from_numpy, to_numpy
from lion_ports.mlx.storage import decode, encode, join, split
from lion_ports.mlx.update import fuses


@pytest.mark.parametrize(("dtype", "options"), RUNS, ids=str)
def test_equals_the_reference(dtype, options):
    replay(*stream(dtype, 12), options, compiled=False)


@pytest.mark.parametrize(("dtype", "options"), [RUNS[0], RUNS[6]], ids=str)
def test_equals_the_reference_inside_compile(dtype, options):
    assert replay(*stream(dtype, 6), options, compiled=True) == 2  # one for each set of gradients


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "options"), RUNS, ids=str)
def test_every_run_equals_the_reference_inside_compile(dtype, options):
    traces = replay(*stream(dtype, 12), options, compiled=True)
    assert traces <= 2


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_large_parameters(compiled):
    """So many elements are decoded and encoded by kernels, eager as well."""
    rng = np.random.Generator(np.random.Philox(13))
    arrays = rng.standard_normal((4, 203, 101)).astype(ml_dtypes.bfloat16)
    grads = [{"w": g, "v": g.reshape(-1)[:-1]} for g in arrays]
    replay(grads[0], grads[1:], INT8 | {"correction_bits": 8}, compiled=compiled)


def assert_bits(found, wanted):
    for got, expected in zip(map(to_numpy, found), wanted, strict=True):
        assert got.dtype == expected.dtype
        assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("made", [lambda f: f, mx.compile], ids=["eager", "compiled"])
def test_floats_of_any_bits(made):
    """NaN of all kinds, subnormal numbers, and blocks of the largest or the least alone."""
    rng = np.random.Generator(np.random.Philox(14))
    bits = rng.integers(0, 1 << 32, 4000, np.uint32)
    bits[:128] = 0x7F7FFFFF - np.arange(128)
    bits[128:256] = np.arange(128)
    bits[256:384] |= 0x7F800000
    whole, count = bits.view(np.float32), mx.array((1 << 32) + 77, mx.uint64)
    x = from_numpy(whole)
    codes, scales = reference.encode(whole, (1 << 32) + 77)
    assert_bits(made(encode)(x, count), (codes, scales))
    decoded = reference.decode(codes, scales)
    assert_bits([made(decode)(from_numpy(codes), from_numpy(scales))], [decoded])
    for width in (8, 16):
        upper, missing = reference.split(whole, width, (1 << 32) + 77)
        assert_bits(made(split)(x, width, count), (upper, missing))
        other = rng.permutation(missing)  # and those of other parameters
        for c in (missing, other):
            joined = reference.join(upper, c)
            assert_bits([made(join)(from_numpy(upper), from_numpy(c))], [joined])


def test_float64_and_complex_parameters():
    """The one keeps a float32 in codes, the other keeps its momentum complex."""
    rng = np.random.Generator(np.random.Philox(12))
    draw = rng.standard_normal((2, 150))
    params = {"p": draw[0], "z": (draw[0] + 1j * draw[1]).astype(np.complex64)}
    replay(params, [params] * 3, INT8 | {"correction_bits": 8}, compiled=False)


@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_left_alone_keeps_every_bit(bits):
    """Codes that are read and written again would be rounded again (L-003, L-019)."""
    params, grads = stream("bfloat16", 5)
    options = {"momentum_dtype": "int8", "correction_bits": bits, "nonfinite": "skip"}
    optimizer = Lion(LR, **options, **AVERAGED)
    xs = optimizer.apply_gradients(tensors(grads[0]), tensors(params))
    before = held(optimizer)
    assert_same(optimizer.apply_gradients(tensors(grads[2]), xs), xs)  # one that is not finite
    assert optimizer.skipped == 1
    for of, arrays in held(optimizer).items():
        assert_same(arrays, before[of])
    optimizer.apply_gradients(tensors(grads[1]), xs)  # one without a gradient of p7
    for of, arrays in held(optimizer).items():
        assert_same({"p7": arrays["p7"]}, {"p7": before[of]["p7"]})


def test_an_accumulation_stores_at_its_update_alone():
    x = {"w": mx.ones(130, mx.bfloat16)}
    optimizer = Lion(LR, **INT8, correction_bits=8, gradient_accumulation_steps=2, **AVERAGED)
    optimizer.init(x)
    for _ in range(2):
        x = optimizer.apply_gradients(x, x)
    before = held(optimizer)
    assert_same(optimizer.apply_gradients(x, x), x)
    assert optimizer.state["lion"]["micro"].item() == 1
    for of, arrays in held(optimizer).items():
        assert_same(arrays, before[of])


def test_a_correction_keeps_steps_that_bfloat16_loses():
    g = {"w": mx.ones(3, mx.bfloat16)}
    still, moved = g, g
    plain, corrected = Lion(2.0**-12), Lion(2.0**-12, correction_bits=16)
    for _ in range(32):
        still = plain.apply_gradients(g, still)
        moved = corrected.apply_gradients(g, moved)
    assert still["w"].tolist() == [1] * 3
    assert moved["w"].tolist() == [1 - 32 * 2.0**-12] * 3


def test_averages_follow_the_whole_parameter():
    x = {"w": mx.ones(2, mx.bfloat16)}
    optimizer = Lion(2.0**-12, correction_bits=16, ema_decay=0.5)
    new = optimizer.apply_gradients(x, x)
    assert optimizer.state["w"]["average"].tolist() == [1 - 2.0**-13] * 2
    assert optimizer.averaged_parameters(new)["w"].dtype == mx.bfloat16


def test_a_group_may_have_it_alone():
    chosen = {"params": lambda path, x: path == "w", "momentum_dtype": "int8", "correction_bits": 8}
    optimizer = Lion(groups=[chosen])
    optimizer.init({n: mx.ones(130, mx.bfloat16) for n in "vw"})
    assert optimizer.state["v"].keys() == {"m"}
    assert optimizer.state["w"].keys() == {"m", "m_scale", "correction"}
    assert optimizer.groups[0].correction_bits == 8
    assert optimizer.correction_bits is None


@pytest.mark.parametrize(
    ("dtype", "options", "each"),
    [
        (mx.float32, INT8, 1 + 2 / 128),
        (mx.bfloat16, INT8 | {"correction_bits": 8}, 2 + 2 / 128),
        (mx.bfloat16, {"correction_bits": 16}, 4),
    ],
    ids=str,
)
def test_bytes_of_a_parameter(dtype, options, each):
    x = {"w": mx.ones((256, 512), dtype)}
    optimizer = Lion(**options)
    optimizer.init(x)
    for _ in range(2):
        kept = sum(a.nbytes for _, a in tree_flatten(optimizer.state["w"]))
        assert kept == each * x["w"].size
        x = optimizer.apply_gradients(x, x)


@pytest.mark.skipif(not fuses(1 << 20), reason="needs a CPU on which an update is a kernel")
@pytest.mark.parametrize(
    ("dtype", "options", "each"),
    [
        (mx.float32, {}, 4),
        (mx.bfloat16, {}, 2),
        (mx.float32, INT8, 18),
        (mx.bfloat16, {"correction_bits": 16}, 14),
        (mx.bfloat16, INT8 | {"correction_bits": 8}, 33),
    ],
    ids=str,
)
def test_bytes_that_an_update_takes(dtype, options, each):
    """At the same time, for each element, beside those that it replaces."""
    x, g = ({"w": mx.full(1 << 20, k, dtype)} for k in (1, 2))
    optimizer = Lion(**options)
    for _ in range(3):
        mx.clear_cache()
        mx.eval(x, g, optimizer.state)
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        x = optimizer.apply_gradients(g, x)
        mx.eval(x, optimizer.state)
    assert (mx.get_peak_memory() - before) / x["w"].size < each + 0.25


def test_a_run_goes_on_from_safetensors_and_from_a_copy(tmp_path):
    params, grads = stream("bfloat16", 6)
    optimizer, xs, path = Lion(LR, **RUNS[6][1]), tensors(params), str(tmp_path / "state")
    for g in grads[:3]:
        xs |= optimizer.apply_gradients(tensors(g), xs)
    mx.save_safetensors(path, dict(tree_flatten(optimizer.state)))
    loaded = Lion(LR, **RUNS[6][1])
    loaded.state = tree_unflatten(list(mx.load(f"{path}.safetensors").items()))
    runs = [(optimizer, dict(xs)), (loaded, dict(xs)), (copy.deepcopy(optimizer), dict(xs))]
    for run, own in runs:
        for g in grads[3:]:
            own |= run.apply_gradients(tensors(g), own)
        assert_same(own, runs[0][1])
        for of, arrays in held(run).items():
            assert_same(arrays, held(optimizer)[of])


def test_a_run_of_numpy_goes_on_in_mlx_and_back(tmp_path):
    params, grads = stream("bfloat16", 6)
    config = LionConfig(LR, **RUNS[5][1])
    state, path = reference.init(params, config), tmp_path / "state.safetensors"
    for g in grads[:3]:
        params, state = reference.step(params, g, state, config)
    save_state(path, reference.export_state(params, state))
    optimizer = Lion(LR, **RUNS[5][1])
    optimizer.init(tensors(params))
    xs = import_state(load_state(path), tensors(params), optimizer)
    for g in grads[3:]:
        params, state = reference.step(params, g, state, config)
        xs |= optimizer.apply_gradients(tensors(g), xs)
        assert_step_is_due(xs, optimizer, params, state)
    back = reference.import_state(export_state(xs, optimizer))[1]
    assert back.momentum_scale.keys() == back.correction.keys() == params.keys()


SMALL = INT8 | {"correction_bits": 8}


def begun(x, **options):
    optimizer = Lion(LR, **options)
    optimizer.init(x)
    return optimizer


def test_a_portable_state_of_other_options():
    x = {"w": mx.ones(130, mx.bfloat16)}
    small, plain = begun(x, **SMALL), begun(x)
    moved = small.apply_gradients(x, x)
    theirs = optim.Lion(LR)
    theirs.init(x)
    corrected = begun(x, correction_bits=8)
    other = begun(x, groups=[{"params": lambda path, x: path == "v", **SMALL}])
    for saved, into, option in [
        (small, plain, "momentum_dtype='int8'"),
        (small, other, "momentum_dtype='int8'"),
        (small, theirs, "momentum_dtype='int8'"),
        (corrected, plain, "correction_bits"),
        (corrected, theirs, "correction_bits"),
    ]:
        before = tree_map(mx.array, into.state)
        with pytest.raises(StateError, match=f"with {option}, and this one is without; make it"):
            import_state(export_state(moved, saved), x, into)
        assert tree_map(mx.array_equal, before, into.state) == tree_map(lambda _: True, before)
    # The other way round nothing is missing: the momentum keeps its dtype, as ever.
    goes_on = begun(x, **SMALL)
    import_state(export_state(moved, plain), x, goes_on)
    assert goes_on.state["w"].keys() == {"m", "correction"}
    assert goes_on.state["w"]["m"].dtype == mx.bfloat16
    assert not goes_on.state["w"]["correction"].any()
    goes_on.apply_gradients(x, moved)
    # And back again into the same optimizer.
    import_state(export_state(moved, small), x, goes_on)
    assert_same(goes_on.state["w"], small.state["w"])
    goes_on.apply_gradients(x, moved)


def test_a_correction_of_other_bits_stays_as_it_was_saved():
    x = {"w": mx.ones(130, mx.bfloat16)}
    saved, other = begun(x, correction_bits=8), begun(x, correction_bits=16)
    moved = import_state(export_state(saved.apply_gradients(x, x), saved), x, other)
    assert_same(other.state["w"], saved.state["w"])
    assert_same(other.apply_gradients(x, moved), saved.apply_gradients(x, moved))
    assert other.state["w"]["correction"].dtype == mx.int8


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        (
            {"m": mx.zeros(130, mx.int8)},
            r"m_scale of w is None, and bfloat16\[2\] belongs beside its m, which is int8\[130\]",
        ),
        ({"m": mx.zeros(130, mx.int8), "m_scale": mx.ones(2)}, r"m_scale of w is float32\[2\]"),
        (
            {"m": mx.zeros(130, mx.int8), "m_scale": mx.ones(1, mx.bfloat16)},
            r"m_scale of w is bfloat16\[1\], and bfloat16\[2\]",
        ),
        (
            {"m": mx.zeros(130), "m_scale": mx.ones(2, mx.bfloat16)},
            r"m_scale of w is bfloat16\[2\], and None belongs beside its m, which is float32\[130",
        ),
        (
            {"m": mx.zeros(130), "correction": mx.zeros(130, mx.int8)},
            r"correction of w is int8\[130\], and the parameter float32\[130\]; it has to be int8",
        ),
        ({"m": mx.zeros(130), "correction": mx.zeros(1, mx.int8)}, r"correction of w is int8\[1\]"),
    ],
)
@pytest.mark.parametrize("options", [{}, SMALL], ids=str)
def test_a_loaded_state_that_does_not_fit(slots, message, options):
    x, optimizer = {"w": mx.ones(130)}, Lion(**options)
    optimizer.state = {**optimizer.state, "w": slots}
    with pytest.raises(StateError, match=message):
        optimizer.apply_gradients(x, x)
    with pytest.raises(StateError, match=message):
        mx.compile(optimizer.apply_gradients)(x, x)


def test_a_correction_of_a_wider_integer():
    x = {"w": mx.ones(3, mx.bfloat16)}
    optimizer = begun(x, correction_bits=8)
    optimizer.state["w"]["correction"] = mx.zeros(3, mx.int32)
    with pytest.raises(StateError, match=r"correction of w is int32\[3\], and the parameter bfl"):
        optimizer.apply_gradients(x, x)


def test_settings_out_of_range():
    with pytest.raises(ConfigError, match="correction_bits = 4 is not one of None, 8, 16"):
        Lion(correction_bits=4)
    with pytest.raises(ConfigError, match=r"groups\[0\]: correction_bits = 4 is not one of"):
        Lion(groups=[{"params": lambda path, x: True, "correction_bits": 4}])
    with pytest.raises(ConfigError, match="correction_bits is fixed when the optimizer is made"):
        Lion().correction_bits = 8
    assert Lion(momentum_dtype=mx.int8).momentum_dtype == "int8"


def test_a_portable_state_with_codes_alone_is_refused():
    x = {"w": mx.ones(3)}
    saved = export_state(x, begun(x, **INT8))
    with pytest.raises(StateError, match="an int8 one has a momentum_scale"):
        replace(saved, momentum_scale={})
