"""torch.distributed.checkpoint: a run that is resumed is the same run, on two processes or one."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("torch.distributed.tensor", reason="needs a torch with torch.distributed")

from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict  # noqa: E402

from lion_ports.torch import Lion  # noqa: E402


@pytest.fixture(scope="module")
def runs(worker, tmp_path_factory):
    """By setting: parameters and momenta of the run that went through, and of those resumed."""
    folder = tmp_path_factory.mktemp("checkpoint")
    worker("checkpoint.py", folder, processes=2, forked=True)
    worker("checkpoint.py", folder)
    files = [torch.load(folder / f"{name}.pt") for name in ("rank0", "rank1", "alone")]
    return {name: files[0][name] | {"other": files[1][name]} | files[2][name] for name in files[0]}


def test_two_processes_resume(runs, bits):
    for run in runs.values():
        assert bits(run["resumed"]) == bits(run["through"])
        assert bits(run["other"]["resumed"]) == bits(run["through"])


def test_one_process_resumes_what_two_saved(runs, bits):
    for run in runs.values():
        assert bits(run["resharded"]) == bits(run["through"])


def test_gathered_and_flat_state_dicts_resume(runs, bits):
    run = runs["float32-momentum"]
    assert bits(run["gathered"]) == bits(run["flat"]) == bits(run["through"])


def test_a_float32_momentum_of_bfloat16_parameters_is_kept(runs):
    for way in ("through", "resumed", "resharded"):
        found = runs["float32-momentum"][way]
        assert {m.dtype for m in found["momentum"]} == {torch.float32}
        assert {p.dtype for p in found["parameters"]} == {torch.bfloat16}


def test_starting_the_state_moves_nothing(parameter):
    """To see a state, torch steps a fresh optimizer, with gradients of zero and an lr set to 0."""
    model = torch.nn.Module()
    model.p = parameter(1.0)
    model.p.grad = None
    rates = [0.5, 0.25]
    optimizer = Lion(model.parameters(), lr=lambda step: rates[step], weight_decay=0.5)
    get_optimizer_state_dict(model, optimizer)
    assert model.p.item() == 1.0
    assert optimizer.param_groups[0]["count"] == 0
    for rate in rates:
        model.p.grad = torch.ones(1)
        optimizer.step()
        assert optimizer.param_groups[0]["lr"] == rate
