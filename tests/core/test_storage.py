"""Small storage (L-031, L-032) against a second writing of it: one element, Python's numbers."""

import math
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lion_ports import ConfigError, LionConfig, StateError, load_state, reference, save_state
from lion_ports.reference import BFLOAT16, BLOCK, decode, dither, encode, join, split
from lion_ports.state import PortableState

ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)
MASK = 0xFFFFFFFF


def chance(count, index):
    """L-031's 32 bits."""
    h = (index * 0x9E3779B1 + count * 0x85EBCA77) & MASK
    h = ((h ^ (h >> 15)) * 0x2C1B3C6D) & MASK
    h = ((h ^ (h >> 12)) * 0x297A2D39) & MASK
    return h ^ (h >> 15)


def exponent(largest):
    """Of the scale of a block, from its largest finite magnitude."""
    if largest == 0:
        return -111
    significand, power = math.frexp(largest)
    return min(max(power - 1 + (significand >= 15 / 16), -111), 127)


def value_of(code, scale):
    """What a code stands for: 8 steps to an octave, 16 octaves below twice the scale."""
    octave, step = divmod(abs(code), 8)
    magnitude = (1 + step / 8) * 2.0 ** (octave - 15) * scale if code else 0.0
    return math.nan if code == -128 else math.copysign(magnitude, code)


def code_of(m, scale, up):
    """The code above or below a value, as chance has it."""
    if not math.isfinite(m):
        return -128
    if m == 0:
        return 0
    below = max((k for k in range(1, 128) if value_of(k, scale) <= abs(m)), default=0)
    low = value_of(below, scale) if below else scale * 2.0**-15
    high = value_of(below + 1, scale) if below < 127 else 2 * scale
    share = (abs(m) - low) / (high - low)
    code = below + (share + up / 2**20 >= 1)
    return int(math.copysign(min(max(code, 1), 127), m))


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY, max_size=20), st.integers(0, 2**40))
def test_codes_are_those_of_a_second_writing(values, count):
    m = np.array(values, np.float32)
    codes, scales = encode(m, count)
    largest = max((abs(v) for v in m.tolist() if math.isfinite(v)), default=0.0)
    scale = 2.0 ** exponent(largest)
    assert scales.tolist() == ([scale] if m.size else [])
    due = [code_of(v, scale, chance(count, i) % 2**20) for i, v in enumerate(m.tolist())]
    assert codes.tolist() == due
    np.testing.assert_array_equal(
        decode(codes, scales), np.array([value_of(c, scale) for c in due], np.float32)
    )


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 1000])
def test_each_block_has_a_scale_of_its_own(size):
    m = np.exp2(np.arange(size) // BLOCK).astype(np.float32)
    codes, scales = encode(m.reshape(1, size), 0)
    assert codes.shape == (1, size)
    assert codes.dtype == np.int8
    assert scales.dtype == BFLOAT16
    assert scales.tolist() == [2.0**i for i in range(-(-size // BLOCK))]
    np.testing.assert_array_equal(decode(codes, scales), m.reshape(1, size))


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=20), st.integers(0, 1000))
def test_no_sign_is_lost(values, count):
    m = np.array(values, np.float32)
    back = decode(*encode(m, count))
    finite = np.isfinite(m)
    np.testing.assert_array_equal(np.sign(back[finite]), np.sign(m[finite]))
    assert np.isnan(back[~finite]).all()


def test_what_a_code_stands_for_stays():
    m = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    once = decode(*encode(m, 3))
    twice = decode(*encode(once, 77))
    large = np.abs(once) > 2.0**-12  # the smallest follow the scale
    assert large.mean() > 0.99
    np.testing.assert_array_equal(once[large], twice[large])


def test_rounding_is_right_on_average():
    """The mean of 4,096 roundings: within five standard errors, which are 1/64 of a step each."""
    m = np.random.default_rng(1).uniform(1, 2, 64).astype(np.float32)
    mean = np.mean([decode(*encode(m, count)).astype(np.float64) for count in range(4096)], axis=0)
    assert np.abs(mean - m).max() < 5 / 64 * 0.5 * 0.125


def test_chance_is_that_of_a_second_writing_and_even():
    drawn = dither(2**35 + 7, 5000)
    assert drawn.tolist() == [chance(2**35 + 7, i) for i in range(5000)]
    ones = [(drawn >> bit & 1).mean() for bit in range(32)]
    assert all(abs(share - 0.5) < 5 * 0.5 / math.sqrt(5000) for share in ones)


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY, max_size=20), st.integers(0, 1000))
def test_sixteen_bits_keep_the_whole_number(values, count):
    x = np.array(values, np.float32)
    parameter, correction = split(x, 16, count)
    assert parameter.dtype == BFLOAT16
    assert correction.dtype == np.int16
    np.testing.assert_array_equal(join(parameter, correction), x)


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY, max_size=20), st.sampled_from([8, 16]), st.integers(0, 1000))
def test_the_parameter_is_the_nearest_bfloat16(values, bits, count):
    x = np.array(values, np.float32)
    parameter, correction = split(x, bits, count)
    whole = join(parameter, correction)
    with np.errstate(over="ignore"):
        nearest = whole.astype(BFLOAT16)
    ties = (whole.view(np.uint32) & 0xFFFF) == 0x8000  # away from zero, or they would not fit
    np.testing.assert_array_equal(*(a[~ties].astype(np.float32) for a in (parameter, nearest)))


@settings(max_examples=300, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 1000))
def test_eight_bits_round_by_chance(value, count):
    x = np.array([value], np.float32)
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    up = chance(count, 0) >> 24
    magnitude = ((bits & 0x7FFFFFFF) + up) // 256 * 256
    (due,) = struct.unpack("<f", struct.pack("<I", (bits & 0x80000000) | magnitude))
    assert join(*split(x, 8, count))[0] == np.float32(due)


@pytest.mark.parametrize("stale", [-128, -1, 1, 127])
@pytest.mark.parametrize("value", [0.0, -0.0, math.inf, -math.inf, 1.0, math.nan])
def test_a_correction_of_another_parameter_makes_no_nan(value, stale):
    parameter = np.array([value], BFLOAT16)
    whole = join(parameter, np.array([stale], np.int8))
    assert np.isnan(whole).all() == math.isnan(value)
    if value in (0.0, 1.0):
        assert abs(whole[0] - value) <= 2.0**-8


def test_decay_is_right_on_average_with_eight_bits():
    """A decay of 2^-20 a step, a sixteenth of the last place of 24 bits."""
    x, correction = split(np.full(256, 1.5, np.float32), 8, 0)
    for count in range(512):
        whole = join(x, correction)
        x, correction = split(whole - np.float32(2.0**-20) * whole, 8, count)
    mean = join(x, correction).astype(np.float64).mean()
    assert mean == pytest.approx(1.5 * (1 - 2.0**-20) ** 512, abs=2.0**-15 * 22 / 16)


def test_the_momentum_of_complex_parameters_stays_complex():
    params = {"z": np.ones(3, np.complex64), "x": np.ones(3, np.float32)}
    state = reference.init(params, LionConfig(momentum_dtype="int8", correction_bits=16))
    assert {n: m.dtype.name for n, m in state.momentum.items()} == {"z": "complex64", "x": "int8"}
    assert list(state.momentum_scale) == ["x"]
    assert not state.correction


def test_a_state_of_few_bits_goes_through_its_file(tmp_path):
    x = {"w": np.random.default_rng(2).standard_normal((3, 70)).astype(BFLOAT16)}
    config = LionConfig(lr=1e-3, weight_decay=0.1, momentum_dtype="int8", correction_bits=8)
    state = reference.init(x, config)
    g = {"w": np.random.default_rng(3).standard_normal((3, 70)).astype(BFLOAT16)}
    for _ in range(5):
        x, state = reference.step(x, g, state, config)
    save_state(tmp_path / "state", reference.export_state(x, state))
    x2, state2 = reference.import_state(load_state(tmp_path / "state"))
    for _ in range(3):
        x, state = reference.step(x, g, state, config)
        x2, state2 = reference.step(x2, g, state2, config)
    np.testing.assert_array_equal(x["w"].view(np.uint16), x2["w"].view(np.uint16))
    np.testing.assert_array_equal(state.momentum["w"], state2.momentum["w"])
    np.testing.assert_array_equal(state.correction["w"], state2.correction["w"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"momentum_scale": {}}, "'w' is int8, and an int8 one has a momentum_scale"),
        ({"momentum": {"w": np.zeros(3, np.float32)}}, "'w' is float32, and an int8 one has"),
        (
            {"momentum_scale": {"w": np.ones(2, BFLOAT16)}},
            r"momentum_scale of 'w' has shape \(2,\), and \(1,\) belongs",
        ),
        ({"correction": {"w": np.zeros(3, np.int32)}}, "'w' is int32 beside bfloat16; it has to"),
        ({"correction": {"v": np.zeros(3, np.int8)}}, "correction of 'v', which is no parameter"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, message):
    fits = {
        "parameters": {"w": np.ones(3, BFLOAT16)},
        "momentum": {"w": np.zeros(3, np.int8)},
        "momentum_scale": {"w": np.ones(1, ml_dtypes.bfloat16)},
        "correction": {"w": np.zeros(3, np.int8)},
    }
    PortableState(**fits)
    with pytest.raises(StateError, match=message):
        PortableState(**{**fits, **change})


def test_other_widths_are_refused():
    with pytest.raises(ConfigError, match="correction_bits = 4 is not one of None, 8, 16"):
        LionConfig(correction_bits=4)
    with pytest.raises(ConfigError, match="momentum_dtype = 'int4' is not one of"):
        LionConfig(momentum_dtype="int4")
