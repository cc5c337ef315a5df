"""``lion-train``: bad input is one sentence with the documented exit code."""

from pathlib import Path
from typing import Any

import pytest

BACKENDS = ("torch", "jax", "mlx")


WRONG = {
    "unknown option": (["--stepz", "3"], 2, "--steps"),
    "unknown command": (["trian"], 2, "trian"),
    "unknown preset": (["--preset", "tyny"], 2, "'tiny'"),
    "negative lr": (["--lr", "-1"], 2, "lr = -1.0"),
    "lr beyond float32": (["--lr", "1e300"], 2, "lr = 1e+300"),
    "decay beyond float32": (["--weight-decay", "1e39"], 2, "weight_decay = 1e+39"),
    "clip beyond float32": (["--clip", "1e39"], 2, "clip = 1e+39"),
    "nan temperature": (["--set", "temperature=nan"], 2, "temperature"),
    "tiny temperature": (["--set", "temperature=1e-320"], 2, "temperature = 1e-320"),
    "list for a preset": (["--config", "preset.toml"], 2, 'preset = ["tiny"]'),
    "list for an optimizer": (["--config", "optimizer.toml"], 2, 'optimizer = ["lion"]'),
    "no optimizer": (["--optimizer", "shape"], 2, "'lion'"),
    "booleans for numbers": (["--config", "booleans.toml"], 2, "6 problems: seed = true (in"),
    "nan lr": (["--lr", "nan"], 2, "lr"),
    "beta of one": (["--betas", "0.9", "1.0"], 2, "betas[1] = 1.0"),
    "signum with two betas": (["--optimizer", "signum", "--betas", ".9", ".8"], 2, "equal betas"),
    "int8 momentum of adamw": (
        ["--optimizer", "adamw", "--momentum-dtype", "int8"],
        2,
        "adamw have the dtype of the weights, so leave momentum_dtype at 'auto'",
    ),
    "correction of adamw": (
        ["--optimizer", "adamw", "--dtype", "bfloat16", "--correction-bits", "8"],
        2,
        "correction_bits = 8 is for lion and signum",
    ),
    "correction of float32": (
        ["--correction-bits", "16"],
        2,
        "correction_bits = 16 is for dtype = 'bfloat16'",
    ),
    "correction of 12 bits": (["--correction-bits", "12"], 2, "correction_bits = 12"),
    "momentum of no such dtype": (["--momentum-dtype", "float16"], 2, "'bfloat16' or 'int8'"),
    "no steps": (["--steps", "0"], 2, "steps"),
    "text for a number": (["--steps", "many"], 2, "steps"),
    "text for a number of --set": (
        ["--set", "lr=abc"],
        2,
        'lr = "abc" (from --set) must be a number\n',
    ),
    "half a step": (
        ["--set", "steps=1.5"],
        2,
        'steps = "1.5" (from --set) must be a whole number\n',
    ),
    "neither true nor false": (["--set", "compile=maybe"], 2, "must be true or false\n"),
    "one beta": (["--set", "betas=0.9"], 2, "betas has too few values\n"),
    "all warm-up": (["--warmup", "99"], 2, "warmup = 99"),
    "width and heads": (["--set", "width=15"], 2, "width = 15"),
    "unknown key": (["--set", "widht=8"], 2, "'width'"),
    "no key": (["--set", "width"], 2, "key=value"),
    "missing config": (["--config", "nowhere.toml"], 2, "nowhere.toml"),
    "config that is not TOML": (["--config", "text.txt"], 2, "not TOML"),
    "unknown backend": (["--backend", "tensorflow"], 2, "'torch'"),
    "missing device": (["--device", "tpu"], 2, "--device tpu"),
    "out is a file": (["--out", "text.txt"], 2, "text.txt"),
    "out in a file": (["--out", "text.txt/run"], 2, "text.txt"),
    "out where nothing can be written": (["--out", "/proc/run"], 2, "/proc/run"),
    "no path": (["--data", ""], 2, "no path"),
    "missing data": (["--data", "nowhere"], 5, "nowhere"),
    "empty file": (["--data", "empty.txt"], 5, "is empty"),
    "blank file": (["--data", "blank.txt"], 5, "is empty"),
    "binary file": (["--data", "binary"], 5, "binary file"),
    "not UTF-8": (["--data", "latin.txt"], 5, "0xe9 at offset 3"),
    "too short": (["--data", "short.txt"], 5, "too short"),
    "empty folder": (["--data", "void"], 5, "no text"),
    "broken link": (["--data", "links"], 5, "links/broken"),
    "no file at all": (["--data", "/dev/null"], 5, "neither"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_sentence(small: Any, folder: Path, name: str) -> None:
    for file, content in {
        "empty.txt": b"",
        "blank.txt": b" \n" * 99,
        "binary": bytes(range(256)) * 9,
        "latin.txt": "caf\xe9 ".encode("latin1") * 99,
        "short.txt": b"a few words",
        "preset.toml": b'preset = ["tiny"]',
        "optimizer.toml": b'optimizer = ["lion"]',
        "booleans.toml": b"lr = true\nsteps = true\nseed = true\nclip = true\nfloor = true\n"
        b"betas = [0.9, true]",
    }.items():
        (folder / file).write_bytes(content)
    (folder / "void").mkdir()
    (folder / "links").mkdir()
    (folder / "links" / "text.txt").write_text("some text\n" * 99)
    (folder / "links" / "broken").symlink_to("nowhere")
    before = sorted(folder.rglob("*"))
    arguments, code, said = WRONG[name]
    result = small(*(("--out", "run") if "--out" not in arguments else ()), *arguments)
    assert result.code == code
    assert result.out == ""
    assert said in result.err
    assert len(result.err.splitlines()) == 1
    assert sorted(folder.rglob("*")) == before, "nothing may be left behind"


def test_all_problems_are_reported_at_once(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LION_TRAIN_STEPZ", "3")
    code, _, err = small("--lr", "-1", "--betas", "0.9", "1.0", "--clip", "x", "--set", "a=1")
    assert code == 2
    for said in ("5 problems", "stepz", "'a'", "lr = -1.0", "betas[1]", "clip"):
        assert said in err


def test_a_mistake_hides_no_settings_that_do_not_fit_together(small: Any) -> None:
    signum = ("--optimizer", "signum", "--betas", ".9", ".8")
    code, _, err = small(
        "--steps", "5", "--warmup", "9", "--lr", "-1", "--set", "width=15", *signum
    )
    assert code == 2
    for said in ("4 problems", "warmup = 9 is not below", "lr = -1.0", "width = 15", "equal betas"):
        assert said in err


def test_what_does_not_fit_into_memory_is_one_sentence(small: Any) -> None:
    code, _, err = small("--batch-size", str(10**13), "--sequence", "64")
    assert (code, len(err.splitlines())) == (2, 1)
    assert err.startswith("lion-train: there is not enough memory; ask for less (")


def test_options_before_a_command_are_refused(lion_train: Any) -> None:
    code, _, err = lion_train("--steps", "3", "resume", "run")
    assert code == 2
    assert "--steps" in err


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_backend_names_the_pip_command(
    small: Any, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == backend else find_spec(name, *a),
    )
    code, _, err = small(backend=backend)
    assert code == 3
    assert f"pip install '.[{backend}]' in a checkout of lion-ports" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["resume", "sample", "eval", "plot"])
def test_commands_on_something_that_is_no_run(lion_train: Any, folder: Path, command: str) -> None:
    (folder / "void").mkdir()
    for path in ("nowhere", "void", "text.txt"):
        code, out, err = lion_train(command, path)
        assert (code, out, len(err.splitlines())) == (5, "", 1)
        if command in ("resume", "plot"):
            assert err.startswith(f"lion-train: {path} is not a run folder: it has no ")
