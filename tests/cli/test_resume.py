"""Runs that are stopped, killed, prolonged and moved to another backend."""

import hashlib
import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from usual import slow

BACKENDS = ("torch", "jax", "mlx")
KILLED = ("--set", "save_every=7", "--set", "eval_every=20", "--quiet")

STARTS_FAST = ("--config", "small.toml", "--backend", "mlx", "--no-compile")
QUICK = ("--schedule", "constant", "--set", "sample_bytes=0", "--quiet")


def events(run: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def course(run: str | Path) -> list[tuple[str, int, float]]:
    """Training and evaluation as they happened, without what depends on the clock."""
    return [
        (e["event"], e["step"], e["loss"]) for e in events(run) if e["event"] in ("train", "eval")
    ]


def final(run: str | Path) -> dict[str, bytes]:
    newest = max(Path(run, "checkpoints").iterdir())
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}


@pytest.mark.parametrize(
    ("backend", "optimizer"),
    [
        *((backend, "lion") for backend in BACKENDS),
        ("torch", "adamw"),
        ("mlx", "adamw"),
        slow("jax", "adamw"),
    ],
)
def test_ten_and_ten_steps_are_twenty(
    small: Any, lion_train: Any, backend: str, optimizer: str
) -> None:
    settings = (*QUICK, "--optimizer", optimizer)
    assert small("--out", "whole", "--steps", "8", *settings, backend=backend).code == 0
    assert small("--out", "parts", "--steps", "4", *settings, backend=backend).code == 0
    assert lion_train("resume", "parts", "--steps", "8", "--quiet").code == 0
    assert final("parts") == final("whole")
    assert course("parts") == course("whole")
    state = json.loads(Path("parts/checkpoints/step-00000008/state.json").read_text())
    assert [(one["from"], one["to"]) for one in state["lineage"]] == [(0, 4), (4, 8)]


SMALL = ("--dtype", "bfloat16", "--momentum-dtype", "int8", "--correction-bits", "8", *QUICK)


@pytest.mark.parametrize("backend", ["torch", "mlx", slow("jax")])
def test_a_run_of_small_state_is_resumed_bitwise(small: Any, lion_train: Any, backend: str) -> None:
    # MLX compiles each kernel with the C++ compiler, which takes longer than all the rest.
    settings = (*SMALL, "--no-compile") if backend == "mlx" else SMALL
    assert small("--out", "whole", "--steps", "8", *settings, backend=backend).code == 0
    assert small("--out", "parts", "--steps", "4", *settings, backend=backend).code == 0
    assert lion_train("resume", "parts", "--steps", "8", "--quiet").code == 0
    assert final("parts") == final("whole")
    assert course("parts") == course("whole")


@pytest.mark.parametrize(("first", "second"), [("torch", "mlx"), ("mlx", "torch")])
def test_another_backend_goes_on_from_the_same_small_state(
    small: Any, lion_train: Any, first: str, second: str
) -> None:
    settings = (*SMALL, "--no-compile", "--lr", "1e-3")
    assert small("--out", "whole", "--steps", "6", *settings, backend=first).code == 0
    assert small("--out", "parts", "--steps", "4", *settings, backend=first).code == 0
    code, *_ = lion_train("resume", "parts", "--steps", "6", "--backend", second, "--quiet")
    assert code == 0
    whole = {(kind, step): loss for kind, step, loss in course("whole")}
    parts = {(kind, step): loss for kind, step, loss in course("parts")}
    assert parts.keys() == whole.keys()
    for step in (4, 5):
        assert parts["train", step] == pytest.approx(whole["train", step], abs=0.01)


@pytest.mark.parametrize(
    ("first", "second", "optimizer"),
    [
        ("torch", "mlx", "lion"),
        ("mlx", "jax", "lion"),
        slow("jax", "torch", "lion"),
        ("torch", "mlx", "adamw"),
        slow("mlx", "jax", "adamw"),
        slow("jax", "torch", "adamw"),
    ],
)
def test_another_backend_goes_on_from_the_same_state(
    small: Any, lion_train: Any, first: str, second: str, optimizer: str
) -> None:
    settings = (*QUICK, "--optimizer", optimizer, "--lr", "1e-3")
    assert small("--out", "whole", "--steps", "6", *settings, backend=first).code == 0
    assert small("--out", "parts", "--steps", "4", *settings, backend=first).code == 0
    saved = final("parts")
    assert lion_train("resume", "parts", "--steps", "4", "--backend", second).code == 0
    assert final("parts") == saved
    code, *_ = lion_train("resume", "parts", "--steps", "6", "--backend", second, "--quiet")
    assert code == 0
    whole = {(kind, step): loss for kind, step, loss in course("whole")}
    parts = {(kind, step): loss for kind, step, loss in course("parts")}
    # The loss of step 4 is that of the moved weights, that of step 5 has felt the moved momentum.
    assert parts.keys() == whole.keys()
    assert parts["train", 4] == pytest.approx(whole["train", 4], abs=1e-5)
    assert parts["train", 5] == pytest.approx(whole["train", 5], abs=1e-4)
    state = json.loads(Path("parts/checkpoints/step-00000006/state.json").read_text())
    assert state["lineage"][-1]["backend"] == second
    file = "adamw.safetensors" if optimizer == "adamw" else "lion.safetensors"
    moved = load_file(Path("parts/checkpoints/step-00000006", file))
    stayed = load_file(Path("whole/checkpoints/step-00000006", file))
    for name, tensor in stayed.items():
        np.testing.assert_allclose(moved[name], tensor, rtol=0, atol=1e-4, err_msg=name)


def test_resuming_a_finished_run_changes_nothing(small: Any, lion_train: Any) -> None:
    assert small("--out", "run", "--quiet").code == 0
    before, weights = course("run"), final("run")
    assert lion_train("resume", "run", "--quiet").code == 0
    assert (course("run"), final("run")) == (before, weights)
    assert [event["event"] for event in events("run")].count("end") == 1


def test_a_run_from_before_an_option_goes_on(small: Any, lion_train: Any) -> None:
    """Its files do not name the option, which is off."""
    added = ("momentum_dtype", "correction_bits")
    for steps, out in (("8", "whole"), ("4", "parts")):
        assert small("--out", out, "--steps", steps, *QUICK).code == 0
    file = Path("parts/config.toml")
    lines = [line for line in file.read_text().splitlines() if not line.startswith(added)]
    file.write_text("\n".join(lines))
    newest = max(Path("parts/checkpoints").iterdir())
    record = json.loads((newest / "state.json").read_text())
    for name in added:
        del record["config"][name]
    content = json.dumps(record).encode()
    (newest / "state.json").write_bytes(content)
    (newest / "COMPLETE").write_text(hashlib.sha256(content).hexdigest() + "\n")
    assert lion_train("resume", "parts", "--steps", "8", "--quiet").code == 0
    assert final("parts") == final("whole")


def test_resume_says_what_it_cannot_do(small: Any, lion_train: Any, folder: Path) -> None:
    assert small("--out", "run", "--quiet").code == 0
    for arguments, code, said in (
        (["--steps", "3"], 2, "already at step 6"),
        (["--steps", "0"], 2, "steps"),
        (["--backend", "tensorflow"], 2, "torch"),
        (["--device", "tpu"], 2, "tpu"),
    ):
        result = lion_train("resume", "run", *arguments)
        assert (result.code, len(result.err.splitlines())) == (code, 1)
        assert said in result.err
    (folder / "text.txt").write_text((folder / "text.txt").read_text() + "one line more\n")
    assert lion_train("resume", "run").code == 5
    assert lion_train("eval", "run").code == 5


def test_edits_that_resume_would_drop_are_refused(small: Any, lion_train: Any) -> None:
    assert small("--out", "run", "--steps", "4", "--quiet").code == 0
    file = Path("run/config.toml")
    saved, weights = file.read_text(), final("run")
    file.write_text(saved.replace("lr = 0.001\n", "lr = 0.5\n").replace("keep = 3", "keep = 9"))
    code, out, err = lion_train("resume", "run")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "lr = 0.5, not 0.001, keep = 9, not 3" in err
    assert final("run") == weights
    # This is also what a kill leaves between ``resume --steps 6`` and its first checkpoint.
    file.write_text(saved.replace("\nsteps = 4\n", "\nsteps = 6\n"))
    assert lion_train("resume", "run", "--quiet").code == 0
    assert Path("run/checkpoints/step-00000006").exists()


def test_without_a_checkpoint_the_file_is_the_configuration(small: Any, lion_train: Any) -> None:
    assert small("--out", "run", "--steps", "4", "--quiet").code == 0
    shutil.rmtree("run/checkpoints")
    file = Path("run/config.toml")
    file.write_text(file.read_text().replace("lr = 0.001\n", "lr = 0.5\n"))
    assert lion_train("resume", "run", "--quiet").code == 0
    assert max(e["lr"] for e in events("run") if e["event"] == "train") == 0.5


def test_a_kill_between_a_checkpoint_and_its_event_loses_no_line(
    small: Any, lion_train: Any
) -> None:
    assert small("--out", "run", "--quiet").code == 0
    metrics = Path("run/metrics.jsonl")
    lines = metrics.read_text().splitlines(keepends=True)
    saved = [line for line in lines if '"checkpoint"' in line]
    metrics.write_text("".join(lines[: lines.index(saved[-1])]))
    for _ in range(2):
        assert lion_train("resume", "run", "--quiet").code == 0
        kept = metrics.read_text().splitlines(keepends=True)
        assert [line for line in kept if '"checkpoint"' in line] == saved


def test_a_checkpoint_without_its_mark_is_not_taken(small: Any, lion_train: Any) -> None:
    assert small("--out", "run", "--quiet").code == 0
    weights, before = final("run"), course("run")
    newest = max(Path("run/checkpoints").iterdir())
    (newest / "COMPLETE").unlink()
    (newest / "params.safetensors").write_bytes(b"half")
    assert lion_train("resume", "run", "--quiet").code == 0
    assert (course("run"), final("run")) == (before, weights)


@pytest.mark.parametrize(
    ("number", "code"),
    [slow(signal.SIGINT, 130), (signal.SIGTERM, 143)],
)
def test_a_signal_saves_and_says_how_to_go_on(
    folder: Path, process: Callable[..., Any], number: int, code: int
) -> None:
    settings = (*STARTS_FAST, "--steps", "200", "--quiet", "--set", "save_every=1000")
    running = process(*settings, "--out", "run")
    wait_for(Path("run/metrics.jsonl"))
    time.sleep(0.2)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == code, err
    assert err.splitlines()[-1].endswith("lion-train resume run")
    assert len(list(Path("run/checkpoints").iterdir())) == 1
    finish(process("resume", "run", "--quiet"))
    finish(process(*settings, "--out", "whole"))
    assert final("run") == final("whole")
    assert course("run") == course("whole")


def test_training_outlives_the_reader_of_its_output(
    folder: Path, process: Callable[..., Any]
) -> None:
    running = process(*STARTS_FAST, "--out", "run", "--set", "log_every=1")
    running.stdout.readline()
    running.stdout.close()
    assert running.stderr.read() == ""
    running.stderr.close()
    assert running.wait(timeout=60) == 0
    assert Path("run/checkpoints/step-00000006/COMPLETE").exists()


def test_two_processes_do_not_train_in_one_folder(
    lion_train: Any, process: Callable[..., Any]
) -> None:
    running = process(*STARTS_FAST, "--out", "run", "--steps", "100000", "--quiet")
    wait_for(Path("run/metrics.jsonl"))
    code, _, err = lion_train("resume", "run")
    running.kill()
    running.communicate(timeout=60)
    assert code == 2
    assert "another process" in err


@pytest.mark.parametrize(
    ("start", "kills", "steps"),
    [
        (STARTS_FAST, 1, "200"),
        slow(("--config", "small.toml", "--backend", "torch"), 20, "2000"),
    ],
    ids=["mlx", "torch"],
)
def test_killed_at_random_moments_a_run_ends_where_it_would_have(
    folder: Path, process: Callable[..., Any], start: tuple[str, ...], kills: int, steps: str
) -> None:
    settings = (*start, *KILLED, "--steps", steps)
    finish(process(*settings, "--out", "whole"))
    moments = random.Random(kills)
    for _ in range(kills):
        begun = Path("run/config.toml").exists()
        running = process(*(("resume", "run", "--quiet") if begun else (*settings, "--out", "run")))
        if moments.random() < 0.8:
            # Most kills while it trains, some while it starts.
            wait_for_growth(Path("run/metrics.jsonl"), running)
            time.sleep(moments.uniform(0, 0.15))
        else:
            time.sleep(moments.uniform(0, 3))
        running.kill()
        _, err = running.communicate(timeout=60)
        assert err == ""
    finish(process("resume", "run", "--quiet"))
    assert final("run") == final("whole")
    assert course("run") == course("whole")
    assert not list(Path("run").rglob(".tmp-*"))


def finish(running: Any) -> None:
    """Runs that are compared bitwise have a process each: MLX's BLAS, loaded for all, would also
    multiply for a PyTorch that is loaded after it."""
    assert running.communicate(timeout=120) == ("", "")
    assert running.returncode == 0


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_growth(path: Path, running: Any) -> None:
    """Until the process has written a line of its own, or has ended."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    deadline = time.monotonic() + 60
    while running.poll() is None and time.monotonic() < deadline:
        if path.exists() and path.stat().st_mtime_ns != before:
            return
        time.sleep(0.005)
