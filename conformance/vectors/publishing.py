"""Mint a folder of vectors, and compare a published one with what the suite gives now."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lion_ports import SPEC_VERSION, __version__
from lion_ports.conformance.cases import CASES
from lion_ports.conformance.trial import Case
from lion_ports.conformance.vectors import philox
from lion_ports.conformance.vectors.encoding import as_text, encode, encode_stream
from lion_ports.conformance.verdict import is_open
from lion_ports.errors import LionError

SCHEMA = "lion-vectors-1"
"""Name and version of the manifest's format; manifest.schema.json describes it."""

MANIFEST = "manifest.json"
PUBLISHED = Path(__file__).with_name("v1")

# Parameters and gradients of a case are written out up to so many bytes.
_LARGEST = 2**18


class VectorsError(LionError):
    """A folder that holds no vectors, or that vectors cannot be written to."""


class Comparison(NamedTuple):
    """What a published folder is not, and the cases that are newer than it: a sentence each."""

    differences: list[str]
    newer: list[str]


def mint(folder: Path) -> int:
    """Write every vector and the manifest into a new folder; returns the number of vectors.

    Raises:
        VectorsError: there is something in the folder already: what is published stays as it is.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise VectorsError(
            f"--write {folder}: there is something already, and published vectors are never "
            "edited; name a new folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files, left_out = {}, {}
        for case in _all():
            if reason := _why_left_out(case):
                left_out[case.id] = reason
                continue
            content = _content(case)
            (folder / _file(case.id)).write_bytes(content)
            files[_file(case.id)] = hashlib.sha256(content).hexdigest()
        manifest = {
            "schema": SCHEMA,
            "version": folder.name,
            "suite": __version__,
            "spec": SPEC_VERSION,
            "files": files,
            "left_out": left_out,
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    except OSError as error:
        raise VectorsError(f"--write {folder}: cannot be written: {error.strerror}") from None
    return len(files)


def compare(folder: Path) -> Comparison:
    """Compare the files of a folder with its manifest and with what the suite gives now.

    Raises:
        VectorsError: the folder has no manifest that could be read.
    """
    manifest = _manifest(folder)
    files: dict[str, str] = manifest["files"]
    found = {path.name for path in folder.iterdir()} - {MANIFEST}
    differences = [f"{name} is not in the manifest" for name in sorted(found - files.keys())]
    for name, sha256 in files.items():
        differences += _file_differences(folder / name, sha256)
    known = files.keys() | {_file(case_id) for case_id in manifest["left_out"]}
    return Comparison(differences, [c.id for c in _all() if _file(c.id) not in known])


def _file_differences(path: Path, sha256: str) -> list[str]:
    if not path.is_file():
        return [f"{path.name} is missing"]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        return [f"{path.name} has not the sha256 of the manifest: it was edited or damaged"]
    case = _named(path.stem)
    if case is None:
        return [f"{path.name} is of a case that the suite no longer has"]
    given = _content(case)
    if given == content:
        return []
    where = first_difference(json.loads(content), json.loads(given))
    return [f"{path.name} is not what the suite gives now: {where}"]


def first_difference(published: Any, given: Any, at: str = "") -> str:
    """Where two JSON values part, in words.

    >>> first_difference({"a": [1, 2]}, {"a": [1, 3]})
    'a[1] is 2, and 3 is given'
    """
    if isinstance(published, dict) and isinstance(given, dict):
        for key in published.keys() | given.keys():
            if published.get(key) != given.get(key):
                place = f"{at}.{key}" if at else str(key)
                return first_difference(published.get(key), given.get(key), place)
    if isinstance(published, list) and isinstance(given, list) and len(published) == len(given):
        for i, (one, other) in enumerate(zip(published, given, strict=True)):
            if one != other:
                return first_difference(one, other, f"{at}[{i}]")
    return f"{at} is {_short(published)}, and {_short(given)} is given" if at else "its layout"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except OSError as error:
        raise VectorsError(f"{folder / MANIFEST} cannot be read: {error.strerror}") from None
    except ValueError:
        manifest = {}
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise VectorsError(f"{folder / MANIFEST} is no manifest of vectors ({SCHEMA})")
    return manifest


def _all() -> Iterator[Case]:
    yield from CASES.values()
    yield from philox.CASES.values()


def _named(case_id: str) -> Case | None:
    return next((case for case in _all() if case.id == case_id), None)


def _file(case_id: str) -> str:
    return f"{case_id}.json"


def _content(case: Case) -> bytes:
    stream = philox.STREAMS.get(case.id)
    return as_text(encode(case) if stream is None else encode_stream(case, stream)).encode()


def _why_left_out(case: Case) -> str:
    """Why a case has no vector; nothing if it has one."""
    if case.id in philox.STREAMS:
        return ""
    trial = case.build()
    if trial.refuse is not None:
        return "settings that are refused: there is no stream"
    for asked, reason in (
        (trial.groups, "parameter groups: the settings of a vector are those of all parameters"),
        (trial.frozen, "parameters that are frozen: as data they have no gradient (null)"),
        (trial.tied, "a tensor of two names: as data these are two that are equal"),
        (trial.compiled, "a compiler: as data there is nothing to compile"),
    ):
        if asked:
            return reason
    if is_open(trial):
        return "sums or functions whose last bits the specification leaves open (L-027)"
    arrays = [*trial.params.values(), *(g for step in trial.steps for g in step.grads.values())]
    if sum(0 if a is None else a.nbytes for a in arrays) > _LARGEST:
        return "too large to be written out; stream-*.json are long and large"
    return ""
