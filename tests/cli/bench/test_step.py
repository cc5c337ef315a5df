"""``lion-bench step``: what is measured of whom, and how it is shown."""

from importlib.util import find_spec

import pytest
from bench_results import QUICK, contenders, document
from usual import slow

from lion_ports.cli.bench.catalog import CONTENDERS
from lion_ports.cli.bench.files import markers

# Without torch.compile, which takes ten seconds.
OURS = ("--only", "lion-ports", "--only", "lion-ports *", "--only", "lion-ports, mx*")


def test_one_step_of_ours_and_theirs(bench, folder):
    pytest.importorskip("lion_pytorch", reason="needs the peer lion-pytorch")
    page = folder / "page.md"
    page.write_text("before\n" + "\nold\n".join(markers("step")) + "\nafter\n")
    code, out, _ = bench(
        "step", "--shapes", "3x10x20", "--threads", "1", "--rounds", "8", "--seconds", "0",
        *OURS, "--only", "lion-pytorch", "--only", "optax.*", "--only", "mlx L*",
        "--json", "all.json", "--markdown", "page.md", "--plot", "all.svg",
    )  # fmt: skip
    assert code == 0
    found = document(folder)
    assert [result["backend"] for result in found["backends"]] == ["torch", "jax", "mlx"]
    for result in found["backends"]:
        case = result["cases"][0]
        assert (case["tensors"], case["parameters"]) == (3, 600)
        names = set(contenders(result))
        # Interleaved: each round has everybody once, and not always in the same order.
        assert [sorted(order) for order in case["orders"]] == 8 * [sorted({*names, "bandwidth"})]
        assert len({tuple(order) for order in case["orders"]}) > 1
        for name, entry in contenders(result).items():
            assert entry["status"] == "measured", entry
            moves = 28 if "adam" in name else 20
            assert entry["bytes_per_parameter"] == pytest.approx(moves, abs=0.1), name
            assert entry["ms"]["samples"] == 8
            assert entry["ours"] == name.startswith("lion-ports")
            assert name in out
        assert contenders(result)[result["baseline"]]["times_baseline"] == 1
    assert ("numba is" in out) is (find_spec("numba") is None)
    torch, jax, mlx = (contenders(result) for result in found["backends"])
    for entry in (
        jax["lion-ports fused_lion"],
        jax["lion-ports lion"],
        mlx["lion-ports, mx.compile"],
    ):
        assert entry["recompilations"] == 0
    assert jax["lion-ports fused_lion"]["temporary_bytes"] == 0
    assert jax["optax.lion"]["temporary_bytes"] >= 4 * 600  # the momentum, copied
    assert torch["lion-pytorch"]["peak_bytes"] >= 4 * 200  # at least a tensor
    text = page.read_text()
    assert text.startswith("before\n" + markers("step")[0])
    assert text.endswith(markers("step")[1] + "\nafter\n")
    assert "old" not in text
    assert "| **lion-ports fused_lion** |" in text
    picture = (folder / "all.svg").read_text()
    assert "<svg" in picture


def test_a_peer_that_raises_or_crashes_is_reported_and_ends_nothing(bench, folder):
    peers = ("Raises", "RaisesLater", "Crashes")
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "2x10", "--only", "lion-ports",
        "--threads", "1", "--rounds", "3", "--seconds", "0",
        *(word for peer in peers for word in ("--peer", f"mlx:mine:{peer}")),
        "--json", "all.json",
    )  # fmt: skip
    assert code == 0
    found = contenders(document(folder)["backends"][0])
    assert found["lion-ports"]["status"] == "measured"
    assert found["mine:Raises"]["message"] == "ArithmeticError: mine cannot do this"
    assert found["mine:RaisesLater"]["message"] == "ArithmeticError: mine is tired"
    orders = document(folder)["backends"][0]["cases"][0]["orders"]
    assert ["mine:RaisesLater" in order for order in orders] == [True, False, False]
    assert all("lion-ports" in order for order in orders)
    assert found["mine:Crashes"]["message"] == "the process was ended by SIGABRT"
    for peer in peers:
        assert found[f"mine:{peer}"]["status"] == "failed"
        assert f"mine:{peer} failed: {found[f'mine:{peer}']['message']}" in out


def test_a_peer_that_cannot_be_imported_is_reported(bench, folder):
    (folder / "needs.py").write_text("import nosuch\n")
    (folder / "ends.py").write_text("import os\nos.abort()\n")
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "2x10", "--only", "lion-ports", *QUICK,
        "--peer", "mlx:needs:Lion", "--peer", "mlx:ends:Lion",
    )  # fmt: skip
    assert code == 0
    assert "needs:Lion failed: ModuleNotFoundError: No module named 'nosuch'" in out
    assert "ends:Lion failed: the process was ended by SIGABRT" in out


def test_one_of_ours_that_fails_is_an_error_of_the_command(bench, monkeypatch):
    # MLX has no such attribute: what is ours by its package fails.
    from dataclasses import replace

    from lion_ports.cli.bench import catalog

    broken = [replace(c, target="lion_ports.mlx:Tiger") for c in CONTENDERS if c.name == "mlx Lion"]
    broken = [replace(c, package="lion-ports") for c in broken]
    monkeypatch.setattr(catalog, "CONTENDERS", tuple(broken))
    code, out, _ = bench("step", "--backend", "mlx", "--shapes", "1x5", *QUICK)
    assert code == 1
    assert "mlx Lion failed: AttributeError" in out


def test_only_knows_the_names_of_peers_and_leaves_none_of_them_out(bench, folder):
    arguments = ("step", "--backend", "mlx", "--shapes", "2x10", *QUICK, "--json", "all.json")
    peer = ("--peer", "mlx:mine:RaisesLater")
    for only, names in (
        ("mine:*", {"mine:RaisesLater"}),
        ("lion-ports", {"lion-ports", "mine:RaisesLater"}),
    ):
        code, _, err = bench(*arguments, *peer, "--only", only)
        assert code == 0, err
        assert set(contenders(document(folder)["backends"][0])) == names
    code, _, err = bench(*arguments, *peer, "--only", "nobody")
    assert code == 2
    assert "mine:RaisesLater" in err


@pytest.mark.parametrize(
    ("backend", "ours"),
    [
        slow("torch", "lion-ports"),
        slow("jax", "lion-ports fused_lion"),
        ("mlx", "lion-ports"),
    ],
)
def test_ours_once_more_with_other_settings(backend, ours, bench, folder):
    pytest.importorskip(backend, reason=f"needs the extra '{backend}'")
    small, many = "momentum_dtype=int8", "betas=(0.9, 0.95),ema_decay=0.5"
    code, _, _ = bench(
        "step", "--backend", backend, "--shapes", "2x128", "--only", ours, "--with", small,
        "--with", many, *QUICK, "--json", "all.json",
    )  # fmt: skip
    assert code == 0
    entries = contenders(document(folder)["backends"][0])
    found = {name: entry["bytes_per_parameter"] for name, entry in entries.items()}
    # Parameter and gradient, and twice the state: float32; a byte and a scale; float32 and average.
    due = {ours: 20, f"{ours}, {small}": 12 + 2 * (1 + 2 / 128), f"{ours}, {many}": 28}
    assert found == pytest.approx(due, rel=1e-4)


def test_small_shapes_are_counted_to_the_last_parameter(bench, folder):
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "10x200", "--only", "lion-ports", *QUICK,
        "--markdown", "new.md", "--plot", "all.svg",
    )  # fmt: skip
    assert code == 0
    title = "one step of 2,000 parameters"
    assert f"{title} in 10 tensors" in out
    assert f"{title} in 10 tensors" in (folder / "new.md").read_text()
    assert f"<!-- mlx on cpu: {title} in 10 tensors -->" in (folder / "all.svg").read_text()


def test_what_there_is_one_of_is_in_the_singular(bench):
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "1x1", "--only", "lion-ports", *QUICK
    )
    assert code == 0
    words = " ".join(out.split())
    assert ": one step of 1 parameter in 1 tensor " in words
    assert ": 1 interleaved round, 1 thread, float32 " in words


def test_large_shapes_are_counted_in_millions(bench):
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "2x600000", "--only", "lion-ports", *QUICK
    )
    assert code == 0
    assert "one step of 1.2 M parameters in 2 tensors" in out


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_ours_in_every_dtype(dtype, bench, folder):
    code, _, _ = bench(
        "step", "--shapes", "2x30", "--dtype", dtype, "--no-peers", *QUICK, "--json", "all.json"
    )
    assert code == 0
    moves = 40 if dtype == "float64" else 10
    for result in document(folder)["backends"]:
        for name, entry in contenders(result).items():
            assert entry["bytes_per_parameter"] == pytest.approx(moves, abs=0.5), name


@pytest.mark.slow
def test_everybody_who_is_installed(bench, folder):
    code, _, _ = bench("step", "--shapes", "2x300", *QUICK, "--json", "all.json")
    assert code == 0
    for result in document(folder)["backends"]:
        for entry in contenders(result).values():
            assert entry["status"] == "measured" or entry["message"]
    torch = contenders(document(folder)["backends"][0])
    assert torch["lion-ports, torch.compile"]["compile_seconds"] > 0
    assert torch["lion-ports, torch.compile"]["recompilations"] == 0
