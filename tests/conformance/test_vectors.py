"""The published vectors are the suite's own, and of use without it."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.trial import Case, Step
from lion_ports.conformance.vectors import philox
from lion_ports.conformance.vectors.encoding import array, as_text, encode
from lion_ports.conformance.vectors.publishing import PUBLISHED, compare, mint

FOLDER = PUBLISHED.parent
MANIFEST = json.loads((PUBLISHED / "manifest.json").read_text())
EXAMPLE = FOLDER.parent / "examples" / "check_vectors.py"


@pytest.fixture
def copy(tmp_path):
    """The published folder, to be tampered with."""
    return Path(shutil.copytree(PUBLISHED, tmp_path / "v1"))


def test_the_published_vectors_are_what_the_suite_gives(conformance):
    done = conformance("vectors", "--check")
    assert done.returncode == 0, done.stdout
    assert "every vector is what the suite gives, bit for bit" in done.stdout


def test_what_is_published_has_its_schemas_and_a_bounded_size():
    jsonschema.validate(MANIFEST, json.loads((FOLDER / "manifest.schema.json").read_text()))
    schema = json.loads((FOLDER / "vector.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    total = 0
    for name in MANIFEST["files"]:
        content = (PUBLISHED / name).read_text()
        validator.validate(json.loads(content))
        total += len(content)
    assert total < 5 * 2**20


def test_every_case_is_published_or_left_out_for_a_reason_or_newer():
    known = {name.removesuffix(".json") for name in MANIFEST["files"]} | MANIFEST["left_out"].keys()
    newer = compare(PUBLISHED).newer
    assert known | set(newer) == CASES.keys() | philox.CASES.keys()
    assert len(MANIFEST["files"]) > 100


def test_a_lion_of_the_standard_library_reads_them_and_equals_them():
    # -I and -S: neither this package nor any other can be imported.
    files = [PUBLISHED / name for name in MANIFEST["files"] if name != "stream-large.json"]
    command = [sys.executable, "-I", "-S", str(EXAMPLE), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(files)
    assert sum(line.endswith(": equal") for line in lines) >= 80
    assert {"stream-float32: equal", "stream-bfloat16: equal"} <= set(lines)


def test_that_lion_would_see_one_wrong_bit(copy):
    path = copy / "dtype-bfloat16.json"
    text = path.read_text()
    at = text.rindex('"bits": "') + len('"bits": "') + 3
    path.write_text(f"{text[:at]}{int(text[at], 16) ^ 1:x}{text[at + 1 :]}")
    command = [sys.executable, "-I", "-S", str(EXAMPLE), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "dtype-bfloat16: step 12, momentum of bias\n")


def test_check_says_what_differs(conformance, copy):
    (copy / "basic-decay.json").write_text((copy / "basic-decay.json").read_text() + "\n")
    (copy / "basic-normal.json").unlink()
    (copy / "notes.txt").touch()
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "gone-case.json").write_text("{}\n")
    manifest["files"]["gone-case.json"] = (
        "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    )
    (copy / "manifest.json").write_text(json.dumps(manifest))
    done = conformance("vectors", "--check", str(copy))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "notes.txt is not in the manifest",
        "basic-decay.json has not the sha256 of the manifest: it was edited or damaged",
        "basic-normal.json is missing",
        "gone-case.json is of a case that the suite no longer has",
        "v1: 4 differences",
    ]


def test_check_finds_a_suite_that_has_moved_on(copy, monkeypatch):
    case = CASES["basic-decay"]
    trial = case.build()
    other = replace(trial, steps=[*trial.steps[:-1], Step(trial.steps[-1].grads, 0.5)])
    monkeypatch.setitem(CASES, case.id, Case(case.id, case.rule, case.reason, lambda: other))
    monkeypatch.setitem(CASES, "basic-newer", Case("basic-newer", "L-001", "New.", lambda: trial))
    differences, newer = compare(copy)
    assert newer == ["basic-newer"]
    (sentence,) = differences
    assert sentence.startswith("basic-decay.json is not what the suite gives now: steps[2].")


def test_minting_gives_the_published_files_and_overwrites_nothing(conformance, tmp_path):
    minted = tmp_path / "v1"
    mint(minted)
    for name in MANIFEST["files"]:
        assert (minted / name).read_bytes() == (PUBLISHED / name).read_bytes()
    for folder in (minted, PUBLISHED):
        done = conformance("vectors", "--write", str(folder))
        assert (done.returncode, done.stdout) == (2, "")
        assert "published vectors are never edited; name a new folder" in done.stderr
    done = conformance("vectors", "--write", str(minted / "manifest.json" / "v2"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "vectors takes --check"),
        (("--check", "--write", "new"), "vectors takes --check"),
        (("folder",), "vectors takes --check"),
        (("--check", "absent"), "cannot be read"),
        (("--check", str(FOLDER / "v1" / "basic-decay.json")), "cannot be read"),
    ],
)
def test_wrong_commands_get_one_sentence_and_status_two(conformance, arguments, words):
    done = conformance("vectors", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_without_a_manifest_of_ours_is_refused(conformance, copy):
    for content in ("no json", "[]", '{"schema": "lion-vectors-9"}'):
        (copy / "manifest.json").write_text(content)
        done = conformance("vectors", "--check", str(copy))
        assert (done.returncode, done.stdout) == (2, "")
        assert "is no manifest of vectors (lion-vectors-1)" in done.stderr


def test_the_sign_and_payload_of_nan_are_one():
    odd = np.array([0xFFC12345, 0x7F800001], np.uint32).view(np.float32)
    assert array(odd)["bits"] == "7fc00000 7fc00000"
    assert array(odd, whole=False) == array(-odd, whole=False)


def test_what_a_case_asks_for_is_told():
    trial = replace(CASES["decay-mask"].build(), exact=True, restart_at=0)
    vector = encode(Case("decay-asked", "L-017", "Told.", lambda: trial))
    assert (vector["exact"], vector["restart_at"]) == (True, 0)
    assert not vector.keys() & {"defaults", "portable", "raises_at"}


def test_a_vector_is_one_line_a_step():
    text = as_text(encode(CASES["decay-mask"]))
    assert sum(line.startswith('  {"lr"') for line in text.splitlines()) == 6
    assert json.loads(text)["parameters"]["bias"]["decays"] is False
