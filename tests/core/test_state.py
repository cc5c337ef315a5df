"""The portable state and its file: whole, or refused in one sentence (L-030)."""

import json
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save

from lion_ports import LionConfig, PortableState, StateError, load_state, reference, save_state
from lion_ports.conformance.bits import DTYPES
from lion_ports.conformance.cases.streams import normal
from lion_ports.tensors import from_bytes, to_bytes

SHAPES = {"weight": (3, 2), "scale": (), "none": (0, 4)}


def a_state(dtype="float32", **changes):
    params, momentum = normal(1, SHAPES, dtype), normal(2, SHAPES, dtype)
    return PortableState(params, momentum, count=7, **changes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path, dtype):
    weight = np.ones((3, 2), ml_dtypes.bfloat16)
    state = replace(
        a_state(dtype),
        average={"weight": weight},
        gradient_sum={"weight": weight},
        seen={"weight": 2},
        skipped=1,
        micro=2,
        loss_scale=2.0**14,
        good_steps=3,
        lr_peak={"weight": 1e-3},
    )
    save_state(tmp_path / "state", state)
    loaded = load_state(tmp_path / "state")
    for kind in ("parameters", "momentum", "average", "gradient_sum"):
        saved, found = getattr(state, kind), getattr(loaded, kind)
        assert saved.keys() == found.keys()
        for name, array in saved.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            assert found[name].tobytes() == array.tobytes()
    for name in ("seen", "count", "skipped", "micro", "loss_scale", "good_steps", "lr_peak"):
        assert getattr(loaded, name) == getattr(state, name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_a_reference_goes_on_from_a_file_as_if_it_had_not_stopped(tmp_path, dtype):
    config = LionConfig(ema_decay=0.5, gradient_accumulation_steps=2, loss_scale="dynamic")
    params = normal(3, SHAPES, dtype)
    state = reference.init(params, config)
    for i in range(3):
        params, state = reference.step(params, normal(4 + i, SHAPES, dtype), state, config)
    save_state(tmp_path / "state", reference.export_state(params, state))
    others, other = reference.import_state(load_state(tmp_path / "state"))
    for i in range(3):
        params, state = reference.step(params, normal(9 + i, SHAPES, dtype), state, config)
        others, other = reference.step(others, normal(9 + i, SHAPES, dtype), other, config)
    assert all(params[n].tobytes() == others[n].tobytes() for n in params)
    assert state.count == other.count == 3


def metadata(content):
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]


def rewritten(content, **changes):
    arrays, texts = from_bytes(content)
    return to_bytes(arrays, texts | changes)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: b"", "not a whole safetensors file"),
        (lambda content: content[:-1], "not a whole safetensors file"),
        (lambda content: content[: len(content) // 2], "not a whole safetensors file"),
        (lambda content: b"PK\x03\x04" + content, "not a whole safetensors file"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "is damaged: .* sha256"),
        (lambda content: content.replace(b'\\"count\\": 7', b'\\"count\\": 8'), "is damaged"),
        (lambda content: save({"w": np.ones(2)}), "of another program"),
        (lambda content: save({"w": np.ones(2, np.int32)}), "'w' has the dtype I32"),
        (lambda content: rewritten(content, spec="1.9"), r"version 1\.9 .* upgrade lion-ports"),
        (lambda content: rewritten(content, spec="2.0"), r"version 2\.0 .* upgrade lion-ports"),
        (lambda content: rewritten(content, spec="new"), "its header is damaged"),
        (lambda content: rewritten(content, state="[1]"), "its header is damaged"),
        (lambda content: rewritten(content, state='{"steps": 1}'), "unknown entry 'steps'"),
        (lambda content: rewritten(content, state='{"count": -1}'), "count is -1, not a whole"),
        (
            lambda content: to_bytes({"weight": np.ones(2)}, from_bytes(content)[1]),
            "'weight' is none of parameters",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, damage, sentence):
    path = tmp_path / "state"
    save_state(path, a_state())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StateError, match=f"the state .*state cannot be used: .*{sentence}"):
        load_state(path)


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "state"
    save_state(path, PortableState({"w": np.ones(2, np.float32)}, {"w": np.ones(2, np.float32)}))
    content = path.read_bytes()
    for i in range(len(content)):
        flipped = content[:i] + bytes([content[i] ^ 4]) + content[i + 1 :]
        path.write_bytes(flipped)
        with pytest.raises(StateError):
            load_state(path)


def test_a_missing_file_is_an_error_of_ours():
    with pytest.raises(StateError, match="the state nowhere cannot be read: No such file"):
        load_state("nowhere")


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "state"
    save_state(path, a_state())
    before = path.read_bytes()
    unwritable = a_state()
    object.__setattr__(unwritable, "momentum", {"weight": np.ones(2, np.int64)})
    with pytest.raises(StateError, match=r"momentum/weight has the dtype int64"):
        save_state(path, unwritable)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"momentum": {}}, "no momentum of 'weight'"),
        ({"average": {"head": np.ones(1)}}, "average of 'head', which is no parameter"),
        ({"average": {"weight": np.ones(1)}}, r"average of 'weight' has shape \(1,\), .* \(3, 2\)"),
        ({"seen": {"weight": 1}}, "gradient sums without their counts"),
        ({"micro": 1.5}, "micro is 1.5, not a whole number"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, sentence):
    with pytest.raises(StateError, match=sentence):
        replace(a_state(), **changes)


def test_a_file_gives_its_tensors_in_one_order(tmp_path):
    """The safetensors library gives them in another one at every reading."""
    names = [f"layer{i}.weight" for i in range(40)]
    arrays = {name: np.ones(2, np.float32) for name in names}
    save_state(tmp_path / "state", PortableState(arrays, arrays))
    assert list(load_state(tmp_path / "state").parameters) == sorted(names)


def test_the_header_names_format_and_version(tmp_path):
    save_state(tmp_path / "state", a_state())
    header = metadata((tmp_path / "state").read_bytes())
    assert header["format"] == "lion-ports-state"
    assert header["spec"] == "1.2"
