"""What a ``lion-bench`` in a folder of a test wrote."""

import json
import re
from importlib.resources import files

import jsonschema

# As the package ships it.
SCHEMA = json.loads(files("lion_ports.cli.bench").joinpath("bench.schema.json").read_text())
# One measurement of each, however short.
QUICK = ("--threads", "1", "--rounds", "1", "--seconds", "0")


def document(folder, name="all.json"):
    """Its JSON, which has to keep the schema."""
    found = json.loads((folder / name).read_text())
    jsonschema.validate(found, SCHEMA, format_checker=jsonschema.FormatChecker())
    return found


def words(folder, name="all.svg"):
    """The lines of text of a picture; matplotlib writes each before its letters' outlines."""
    return re.findall("<!-- (.*?) -->", (folder / name).read_text())


def contenders(result, case=0):
    """The entries of one case of a backend, by name."""
    return {entry["name"]: entry for entry in result["cases"][case]["contenders"]}
