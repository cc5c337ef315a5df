"""``lion-bench scaling`` and ``lion-bench train``."""

import pytest
from bench_results import QUICK, contenders, document

from lion_ports.cli.bench.files import markers


def test_scaling_says_that_it_goes_by_powers_of_ten(bench):
    code, out, _ = bench("scaling", "--help")
    assert code == 0
    assert "measured are the powers of ten from 1,000 to it" in " ".join(out.split())


def test_scaling(bench, folder, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--one --two")  # no backend here reads them
    code, out, _ = bench(
        "scaling", "--backend", "mlx", "--max", "10000", "--total", "100", *QUICK,
        "--json", "all.json", "--plot", "all.png", "--markdown", "new.md",
    )  # fmt: skip
    assert code == 0
    found = document(folder)
    assert found["command"].startswith("XLA_FLAGS='--one --two' lion-bench")
    result = found["backends"][0]
    seen = [(c["series"], c["tensors"], c["parameters"]) for c in result["cases"]]
    assert seen == [
        ("size", 1, 1_000), ("size", 1, 10_000),
        ("count", 1, 100), ("count", 10, 100), ("count", 100, 100),
    ]  # fmt: skip
    for number in range(len(seen)):
        assert {e["status"] for e in contenders(result, number).values()} == {"measured"}
    # Wider than its table, and yet in one line.
    assert "\nmlx on cpu: ns a parameter, many tensors of one total (100 parameters)\n" in out
    assert (folder / "new.md").read_text().startswith(markers("scaling")[0])
    assert (folder / "all.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "backend", ["mlx", *(pytest.param(b, marks=pytest.mark.slow) for b in ("torch", "jax"))]
)
def test_the_loops_train_the_model_of_the_trainer(backend, bench, folder):
    code, out, _ = bench(
        "train", "--backend", backend, *QUICK, "--json", "all.json", "--plot", "all.png"
    )
    assert code == 0
    result = document(folder)["backends"][0]
    found = contenders(result)
    losses = found["lion-train"]["losses"]
    loops = [name for name in found if name.startswith("hand-written")]
    assert len(loops) == 2
    for name in loops:
        assert found[name]["losses"][0] == pytest.approx(losses[0], rel=1e-6)
        # MLX has no mask: there the loops decay the gains of the norms as well.
        assert found[name]["losses"] == pytest.approx(losses, rel=1e-3)
        assert found[name]["trainer_times"] > 0
    assert losses[-1] < losses[0]
    assert result["cases"][0]["optimizer_share"] > 0
    assert "the optimizer's share of a step" in out
