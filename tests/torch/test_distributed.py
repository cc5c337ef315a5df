"""DDP, FSDP2 and DTensors, in processes as torchrun starts them: the bits of one process."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("torch.distributed.tensor", reason="needs a torch with torch.distributed")

import torch.distributed as dist  # noqa: E402
from torch.distributed.tensor import Shard, distribute_tensor  # noqa: E402

from lion_ports import DtypeError  # noqa: E402
from lion_ports.torch import Lion  # noqa: E402
from lion_ports.torch.sharding import local  # noqa: E402

SETTINGS = ("plain", "cautious", "average")  # of workers/data_parallel.py


@pytest.fixture(scope="module")
def data_parallel(worker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data_parallel")
    worker("data_parallel.py", folder, processes=2)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def dtensors(worker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dtensors")
    worker("dtensors.py", folder, processes=4, forked=True)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(4)]


def test_two_processes_train_as_one(data_parallel, bits):
    """And so does another model with the exported state of theirs."""
    for cells in data_parallel:
        for name in SETTINGS:
            cell = {way: bits(one) for way, one in cells[name].items()}
            ways = ["alone", "ddp", "fsdp2", "fsdp2, imported", "released", "released, imported"]
            assert sorted(cell) == ways
            for way in ways:
                assert cell[way] == cell["alone"], (name, way)


def test_the_zero_redundancy_optimizer(data_parallel, bits):
    for cells in data_parallel:
        assert bits(cells["zero"]) == bits(cells["plain"]["alone"]["parameters"])


def test_replicas_do_not_release_gradients_that_are_averaged_later(data_parallel):
    for cells in data_parallel:
        assert "use fully_shard in place of DistributedDataParallel" in cells["refusal"]


def test_placements_of_dtensors_do_not_change_the_result(dtensors, bits):
    for found in dtensors:
        for cell in found["placements"].values():
            assert len(cell) == 7
            assert all(bits(one) == bits(cell["alone"]) for one in cell.values())


def test_a_gradient_that_is_not_finite_on_one_shard_stops_all(dtensors):
    for found in dtensors:
        skipped = {
            name: {one["skipped"] for one in cell.values()}
            for name, cell in found["placements"].items()
        }
        assert skipped["skip"] == skipped["dynamic"] == {1}
        assert skipped["plain"] == {0}


def test_a_grad_scaler_skips_on_all_shards(dtensors, bits):
    first, skipped, scale = dtensors[0]["scaled"]
    assert (skipped, scale) == (1, 2.0)
    assert any((p != 1).any() for p in first)
    assert all(bits(found["scaled"]) == bits([first, 1, 2.0]) for found in dtensors)


def test_fsdp2_over_tensor_parallelism(dtensors, bits):
    for found in dtensors:
        cell = found["hybrid"]
        assert bits(cell["hybrid"]) == bits(cell["alone"])
        assert bits(cell["imported"]) == bits(cell["alone"])


@pytest.fixture
def mesh():
    """One process, as its own group."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_a_gradient_that_is_no_dtensor_is_refused(mesh):
    p = torch.nn.Parameter(distribute_tensor(torch.ones(2), mesh, [Shard(0)]))
    p.grad = torch.ones(2)
    with pytest.raises(DtypeError, match="a gradient is a Tensor and its parameter a DTensor"):
        Lion([p]).step()


def test_a_dtensor_among_plain_parameters(mesh, bits):
    plain = [torch.nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(3)]
    params = [plain[0], torch.nn.Parameter(distribute_tensor(plain[1].data, mesh, [Shard(0)]))]
    optimizer, alone = Lion(params, lr=0.5), Lion(plain[2:], lr=0.5)
    for p in plain:
        p.grad = torch.linspace(1, -2, 7)
    params[1].grad = distribute_tensor(plain[1].grad, mesh, [Shard(0)])
    optimizer.step()
    alone.step()
    assert bits([plain[0], local(params[1])]) == bits([plain[2]] * 2)


def test_compiled_steps_of_dtensors(mesh, bits):
    """One graph for all steps but the first, which has no momentum yet."""
    plain = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    p = torch.nn.Parameter(distribute_tensor(plain.detach().clone(), mesh, [Shard(0)]))
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    optimizer, alone = Lion([p], lr=0.5, cautious=True), Lion([plain], lr=0.5, cautious=True)
    step = torch.compile(optimizer.step, backend=backend)
    for _ in range(3):
        plain.grad = torch.linspace(1, -2, 7)
        p.grad = distribute_tensor(plain.grad, mesh, [Shard(0)])
        step()
        alone.step()
    assert bits(local(p)) == bits(plain)
    assert len(graphs) <= 2
