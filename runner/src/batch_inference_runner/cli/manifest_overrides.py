"""`--set spec.output.mode=Overwrite`: changing a manifest's values from the command line."""

from __future__ import annotations

import re
from typing import Any

from batch_inference_runner.cli.manifest_yaml import YamlProblem, read_value

Path = tuple[str | int, ...]

_PART = re.compile(r"""\.?(?P<name>[A-Za-z][\w-]*)|\[(?P<index>\d{1,6})\]|\["(?P<key>[^"]+)"\]""")


class OverrideProblem(ValueError):
    """An override that cannot be applied; the message names it."""


def apply_override(manifest: dict[str, Any], override: str) -> tuple[dict[str, Any], Path]:
    """Return the manifest with one value set, and the path of that value.

    A mapping that is not there yet is made; a list grows by one when the index is its length.
    """
    target, separator, text = override.partition("=")
    if not separator:
        raise OverrideProblem(f"--set {override!r}: write it as spec.field=value")
    path = _parse(target.strip())
    try:
        value = text if _is_sign(text) else read_value(text)
    except YamlProblem as problem:
        advice = f"""put the value in quotes: --set '{target}="..."'"""
        raise OverrideProblem(f"--set {target}: {problem}; {advice}") from problem
    return _with_value(manifest, path, value, target=target), path


def _is_sign(text: str) -> bool:
    """Tell whether a value is meant as it is: `~`, `|` or `#` alone would be syntax to YAML."""
    return len(text) == 1 and not text.isalnum()


def _parse(target: str) -> Path:
    parts: list[str | int] = []
    position = 0
    while position < len(target):
        match = _PART.match(target, position)
        if match is None or (match["name"] and bool(position) != (target[position] == ".")):
            break
        index = match["index"]
        parts.append(match["name"] or match["key"] if index is None else int(index))
        position = match.end()
    if position < len(target) or len(parts) < 2 or parts[0] not in {"spec", "metadata"}:
        raise OverrideProblem(
            f"--set {target!r}: not the path of a field; write it like spec.output.mode, "
            'spec.model.outputs[0].index or spec.workers.resources.limits["nvidia.com/gpu"]'
        )
    return tuple(parts)


def _with_value(node: Any, path: Path, value: Any, *, target: str) -> Any:
    """A copy of `node` in which `path` leads to `value`."""
    if not path:
        return value
    part, rest = path[0], path[1:]
    if isinstance(part, str):
        if node is not None and not isinstance(node, dict):
            raise OverrideProblem(f"--set {target}: there is no mapping that could hold {part!r}")
        old = node or {}
        return {**old, part: _with_value(old.get(part), rest, value, target=target)}
    if node is not None and not isinstance(node, list):
        raise OverrideProblem(f"--set {target}: [{part}] is not inside a list")
    items = list(node or ())
    if part > len(items):
        raise OverrideProblem(f"--set {target}: the list has {len(items)} entries, so no [{part}]")
    old_item = items[part] if part < len(items) else None
    items[part : part + 1] = [_with_value(old_item, rest, value, target=target)]
    return items
