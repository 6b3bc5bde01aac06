"""Parses what nothing else here does: the YAML of .github, and the blocks of YAML and JSON in the documentation."""

import json
import pathlib
import re
import sys

import yaml

PARSERS = {"yaml": yaml.safe_load, "json": json.loads}


def blocks(path):
    """The text that is to be parsed, and how."""
    text = path.read_text()
    if path.suffix != ".md":
        yield "yaml", text
        return
    for kind, block in re.findall(r"^```(yaml|json)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield kind, block


files = [
    *pathlib.Path().glob("*.md"),
    *pathlib.Path("docs").rglob("*.md"),
    *pathlib.Path(".github").rglob("*.md"),
    *pathlib.Path(".github").rglob("*.yml"),
]
count = 0
for path in sorted(files):
    for kind, block in blocks(path):
        try:
            PARSERS[kind](block)
        except ValueError as error:
            sys.exit(f"{path}: {error}\n{block}")
        except yaml.YAMLError as error:
            sys.exit(f"{path}: {error}")
        count += 1
print(count, "files and blocks of YAML and JSON parse")
