"""A Lion in plain Python floats, against the published vectors; the standard library is enough.

    python check_vectors.py v1/basic-*.json v1/stream-float32.json

It shows how the vectors are read (docs/vectors.md). It offers no options, so that the files with
settings other than the betas are left out, as are complex parameters.
"""

import hashlib
import json
import math
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FORMATS = {"float16": "e", "bfloat16": "f", "float32": "f", "float64": "d"}
PRECISION = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
MASK = 2**64 - 1


def to_number(bits: str, dtype: str) -> float:
    """A bit pattern in hexadecimal as a number; bfloat16 is the first half of a float32."""
    padded = bits + "0000" if dtype == "bfloat16" else bits
    value: float = struct.unpack(">" + FORMATS[dtype], bytes.fromhex(padded))[0]
    return value


def to_bits(value: float, dtype: str) -> str:
    """A number as the bit pattern of its dtype; there is one NaN for all."""
    value = math.nan if math.isnan(value) else value
    digits = struct.pack(">" + FORMATS[dtype], value).hex()
    return digits[:4] if dtype == "bfloat16" else digits


def rounded(value: float, dtype: str) -> float:
    """The nearest number of a dtype, ties to even; to bfloat16 from a float32."""
    if dtype == "float64" or not math.isfinite(value):
        return value
    if dtype == "bfloat16":
        word = int.from_bytes(struct.pack(">f", value))
        word = word + 0x7FFF + (word >> 16 & 1) & 0xFFFF0000
        return to_number(f"{word:08x}", "float32")
    try:
        return to_number(to_bits(value, dtype), dtype)
    except OverflowError:
        return math.copysign(math.inf, value)


def lion(
    x: float, g: float, m: float, lr: float, wd: float, betas: tuple[float, float], dtype: str
) -> tuple[float, float]:
    """Rules L-001 and L-005 to L-010: each operation rounded to float32, or to float64."""
    compute = "float64" if dtype == "float64" else "float32"
    r: Callable[[float], float] = lambda value: rounded(value, compute)  # noqa: E731
    b1, b2, omb1, omb2 = (r(b) for b in (*betas, 1 - betas[0], 1 - betas[1]))
    lr, wd = r(lr), r(wd)
    c = r(r(b1 * m) + r(omb1 * g))
    u = c if math.isnan(c) else float((c > 0) - (c < 0))
    if wd != 0:
        u = r(u + r(wd * x))
    return (
        rounded(r(x - r(lr * u)), dtype),
        rounded(r(r(b2 * m) + r(omb2 * g)), dtype),
    )


def philox(seed: int, step: int, count: int) -> Iterator[int]:
    """Words of Philox4x64-10 with the key (seed, step), the counter beginning at 1."""
    for block in range(1, -(-count // 4) + 1):
        a, b, c, d, k0, k1 = block, 0, 0, 0, seed, step
        for _ in range(10):
            p, q = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
            a, b, c, d = (q >> 64) ^ b ^ k0, q & MASK, (p >> 64) ^ d ^ k1, p & MASK
            k0, k1 = k0 + 0x9E3779B97F4A7C15 & MASK, k1 + 0xBB67AE8584CAA73B & MASK
        yield from (a, b, c, d)[: count - 4 * (block - 1)]


def values(array: dict[str, Any], step: int = 0) -> list[float]:
    """The numbers of an array, written out or described."""
    dtype = array["dtype"]
    if "philox" in array:
        p, count = PRECISION[dtype], math.prod(array["shape"])
        words = philox(array["philox"], step, count)
        return [((word >> 64 - p) - 2 ** (p - 1)) * 2.0 ** (1 - p) for word in words]
    return [to_number(bits, dtype) for bits in array["bits"].split()]


def equal(came: list[float], array: dict[str, Any]) -> bool:
    """Whether these are the numbers that were expected, bit for bit."""
    bits = [to_bits(value, array["dtype"]) for value in came]
    if "bits" in array:
        return bool(" ".join(bits) == array["bits"])
    little_endian = b"".join(bytes.fromhex(word)[::-1] for word in bits)
    return hashlib.sha256(little_endian).hexdigest() == str(array["sha256"])


def steps(vector: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps of a vector; of a stream, most have nothing to compare with."""
    if "steps" in vector:
        yield from vector["steps"]
        return
    stream = vector["stream"]
    for number in range(1, stream["count"] + 1):
        yield {**stream, "expected": stream["expected"].get(str(number), {})}


def first_wrong(vector: dict[str, Any]) -> str:
    """Where this Lion leaves a vector; nothing if it never does."""
    parameters = vector["parameters"]
    betas = tuple(to_number(bits, "float64") for bits in vector["settings"]["betas"])
    x = {name: values(array) for name, array in parameters.items()}
    m = {name: [0.0] * len(numbers) for name, numbers in x.items()}
    for number, step in enumerate(steps(vector), 1):
        lr, wd = (to_number(step[name], "float64") for name in ("lr", "weight_decay"))
        for name, gradient in step["gradients"].items():
            if gradient is None:
                continue
            decay = wd if parameters[name].get("decays", True) else 0.0
            dtype = parameters[name]["dtype"]
            moved = [
                lion(*one, lr, decay, betas, dtype)  # type: ignore[arg-type]
                for one in zip(x[name], values(gradient, number), m[name], strict=True)
            ]
            x[name], m[name] = [a for a, _ in moved], [b for _, b in moved]
        for kind, came in (("parameters", x), ("momentum", m)):
            for name, array in step["expected"].get(kind, {}).items():
                if not equal(came[name], array):
                    return f"step {number}, {kind} of {name}"
    return ""


def offered(vector: dict[str, Any]) -> bool:
    """Whether this Lion has what a vector asks for."""
    known = all(array["dtype"] in FORMATS for array in vector["parameters"].values())
    return known and list(vector["settings"]) == ["betas"]


def main() -> None:
    """Check the files that are named."""
    failed = False
    for path in sys.argv[1:]:
        vector = json.loads(Path(path).read_text())
        where = first_wrong(vector) if offered(vector) else "not offered"
        print(f"{vector['id']}: {where or 'equal'}")
        failed = failed or where not in ("", "not offered")
    sys.exit(failed)


if __name__ == "__main__":
    main()
