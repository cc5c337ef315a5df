"""Small state saved, loaded and refused, and what it takes (L-021, L-030 to L-032)."""

import pytest
from small_state import LR

from lion_ports import ConfigError, LionConfig, StateError, reference

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports.torch import Lion, export_state, import_state  # noqa: E402
from lion_ports.torch.state import to_numpy  # noqa: E402

INT8 = {"momentum_dtype": "int8"}


def begun(settings, dtype=torch.bfloat16):
    p = torch.nn.Parameter(torch.linspace(-1, 1, 130).to(dtype))
    optimizer = Lion([("p", p)], LR, **settings)
    p.grad = torch.linspace(-1, 2, 130).to(dtype)
    optimizer.step()
    return p, optimizer


SMALL = INT8 | {"correction_bits": 8}


@pytest.mark.parametrize("portable", [False, True], ids=["state_dict", "portable"])
def test_a_run_goes_on_from_what_was_saved(portable, bits, tmp_path):
    p, optimizer = begun(SMALL)
    other = torch.nn.Parameter(p.detach().clone())
    resumed = Lion([("p", other)], LR, **SMALL)
    if portable:
        import_state(export_state([("p", p)], optimizer), [("p", other)], resumed)
    else:
        torch.save(optimizer.state_dict(), tmp_path / "state.pt")
        resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert bits(resumed.state[other]) == bits(optimizer.state[p])
    other.grad = p.grad
    for each in (optimizer, resumed):
        each.step()
    assert bits([other, resumed.state[other]]) == bits([p, optimizer.state[p]])


def test_a_portable_state_is_the_references():
    p, optimizer = begun(SMALL)
    saved = export_state([("p", p)], optimizer)
    params, state = reference.import_state(saved)
    grads = {"p": to_numpy(p.grad)}
    params, state = reference.step(params, grads, state, LionConfig(LR, **SMALL))
    optimizer.step()
    now = export_state([("p", p)], optimizer)
    for field in ("momentum", "momentum_scale", "correction"):
        assert getattr(now, field)["p"].tobytes() == getattr(state, field)["p"].tobytes()
    assert now.parameters["p"].tobytes() == params["p"].tobytes()


def test_a_portable_state_needs_the_same_options():
    p, optimizer = begun(SMALL)
    saved = export_state([("p", p)], optimizer)
    with pytest.raises(StateError, match="with momentum_dtype='int8', and this one is without"):
        import_state(saved, [("p", p)], Lion([p], LR, correction_bits=8))
    with pytest.raises(StateError, match="with correction_bits, and this one is without"):
        import_state(saved, [("p", p)], Lion([p], LR, **INT8))
    # The other way round nothing is missing: the momentum keeps its dtype, as ever (L-016).
    plain = begun({})
    small = Lion([("p", plain[0])], LR, **SMALL)
    import_state(export_state([("p", plain[0])], plain[1]), [("p", plain[0])], small)
    assert set(small.state[plain[0]]) == {"exp_avg", "correction"}
    assert small.state[plain[0]]["exp_avg"].dtype == torch.bfloat16
    small.step()


class OtherLion(torch.optim.Optimizer):
    """One that knows nothing of small state."""

    def __init__(self, params):
        super().__init__(params, {"lr": 1e-4, "betas": (0.9, 0.99)})


@pytest.mark.parametrize("settings", [INT8, {"correction_bits": 8}], ids=str)
def test_the_lions_of_others_do_not_go_on_from_small_state(settings):
    p, optimizer = begun(settings)
    with pytest.raises(StateError, match="with options that are part of it"):
        import_state(export_state([("p", p)], optimizer), [("p", p)], OtherLion([p]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exp_avg_scale": None}, "saved with no scales of its momentum, and .2,. are needed"),
        ({"exp_avg_scale": torch.ones(1)}, "saved with .1,. scales"),
        ({"exp_avg": torch.ones(130)}, "scales of its momentum, and none are needed"),
        ({"correction": torch.ones(3)}, "the correction of parameter 0 was saved with shape"),
        ({"correction": torch.ones(130)}, "the correction of parameter 0 was saved as torch.float"),
    ],
    ids=str,
)
def test_a_state_that_is_not_whole(change, message, bits):
    p, optimizer = begun(SMALL)
    saved, before = optimizer.state_dict(), bits(optimizer.state[p])
    slots = {**saved["state"][0], **change}
    saved["state"] = {0: {n: value for n, value in slots.items() if value is not None}}
    with pytest.raises(StateError, match=message):
        optimizer.load_state_dict(saved)
    assert bits(optimizer.state[p]) == before


def test_a_correction_of_another_dtype():
    _, optimizer = begun(SMALL)
    _, other = begun({}, torch.float32)
    with pytest.raises(StateError, match=r"a correction, and is torch.float32; convert the model"):
        other.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize(
    ("slot", "dtype", "words"),
    [
        (None, torch.float32, "a parameter with a correction is of torch.float32"),
        ("exp_avg_scale", torch.float32, "scales of a momentum are of torch.float32"),
        ("exp_avg_scale", torch.int8, "scales of a momentum are of torch.int8"),
        ("correction", torch.float32, "a correction is of torch.float32, and not of torch.int8 or"),
    ],
    ids=str,
)
def test_what_was_converted_is_refused_before_anything_moves(slot, dtype, words, bits):
    """As by ``model.float()``: in what has another dtype, other numbers would be found."""
    p, optimizer = begun(SMALL)
    slots = optimizer.state[p]
    if slot is None:
        p.data, p.grad_dtype = p.data.to(dtype), None
    else:
        slots[slot] = slots[slot].to(dtype)
    before = bits([p, slots])
    with pytest.raises(StateError, match=words):
        optimizer.step()
    assert bits([p, slots]) == before
    del optimizer.state[p]
    optimizer.step()


@pytest.mark.parametrize(
    ("settings", "slot", "words"),
    [
        (INT8, "exp_avg_scale", "a momentum of int8 without its scales"),
        ({"gradient_accumulation_steps": 2}, "grad_sum", "seen gradients, and lost their sum"),
    ],
    ids=str,
)
def test_what_lacks_a_half_is_refused_before_anything_moves(settings, slot, words, bits):
    p, optimizer = begun(settings)
    del optimizer.state[p][slot]
    before = bits([p, optimizer.state[p]])
    with pytest.raises(StateError, match=words):
        optimizer.step()
    assert bits([p, optimizer.state[p]]) == before


@pytest.mark.parametrize(
    ("dtype", "options", "each"),
    [
        (torch.float32, INT8, 1 + 2 / 128),
        (torch.bfloat16, SMALL, 2 + 2 / 128),  # and 2 of the parameter itself
        (torch.bfloat16, {"correction_bits": 16}, 4),
    ],
    ids=str,
)
def test_bytes_of_a_parameter(dtype, options, each):
    p = torch.nn.Parameter(torch.ones(256, 512, dtype=dtype))
    p.grad = torch.ones_like(p)
    optimizer = Lion([p], **options)
    optimizer.step()
    assert sum(t.nbytes for t in optimizer.state[p].values()) == each * p.numel()


def test_settings_that_are_wrong(parameter):
    with pytest.raises(ConfigError, match="correction_bits = 4 is not one of None, 8, 16"):
        Lion([parameter(1)], correction_bits=4)
    with pytest.raises(ConfigError, match="momentum_dtype = 'int4' is not one of"):
        Lion([parameter(1)], momentum_dtype="int4")


@pytest.fixture
def mesh():
    """A mesh of this process alone."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("option", "setting"),
    [("momentum_dtype='int8'", INT8), ("correction_bits", {"correction_bits": 16})],
)
def test_shards_are_refused(option, setting, mesh):
    from torch.distributed.tensor import Shard, distribute_tensor

    x = torch.ones(130, dtype=torch.bfloat16)
    p = torch.nn.Parameter(distribute_tensor(x, mesh, [Shard(0)]))
    with pytest.raises(ConfigError, match=f"^{option} goes by the place of an element"):
        Lion([p], **setting)
    optimizer = Lion([p])
    optimizer.param_groups[0].update(setting)
    p.grad = torch.ones_like(p)
    with pytest.raises(ConfigError, match=f"^{option} goes by the place of an element"):
        optimizer.step()
    wide = torch.nn.Parameter(distribute_tensor(x.float(), mesh, [Shard(0)]))
    Lion([wide], correction_bits=16)  # has no correction
