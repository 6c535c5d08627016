"""Writes the table of values in the chart's README from the comments of its values.yaml.

python tests/tools/write_values_table.py            write it
python tests/tools/write_values_table.py --check    fail if it is not what it would write
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

CHART = Path(__file__).parents[2] / "charts" / "batch-inference-operator"
BEGIN = "<!-- Written by tests/tools/write_values_table.py; edit the comments of values.yaml. -->\n"
END = "<!-- End of the table. -->\n"


def main() -> int:
    readme = CHART / "README.md"
    before = readme.read_text()
    head, _, rest = before.partition(BEGIN)
    after = head + BEGIN + table() + END + rest.partition(END)[2]
    if "--check" in sys.argv[1:]:
        if before != after:
            print(f"{readme} is not up to date: run {sys.argv[0]}", file=sys.stderr)
        return int(before != after)
    readme.write_text(after)
    return 0


def table() -> str:
    text = (CHART / "values.yaml").read_text()
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    rows = "".join(rows_of(root, text.splitlines(), "", ""))
    return f"| key | default | meaning |\n|---|---|---|\n{rows}"


def rows_of(node: yaml.MappingNode, lines: list[str], prefix: str, about: str) -> Iterator[str]:
    """A row for each key whose value is not a block of more keys; `about` is their parent's."""
    for key, value in node.value:
        path = prefix + key.value
        comment = comment_above(lines, key.start_mark.line) or about
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from rows_of(value, lines, f"{path}.", comment)
        else:
            yield f"| `{path}` | `{default_of(value)}` | {comment} |\n"


def default_of(node: yaml.Node) -> str:
    loader = yaml.SafeLoader("")
    value = loader.construct_document(node)
    return json.dumps(value).replace("|", r"\|")


def comment_above(lines: list[str], line: int) -> str:
    words: list[str] = []
    while line and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        words.insert(0, lines[line].lstrip().removeprefix("#").strip())
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
