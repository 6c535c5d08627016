"""The page of reasons: each with what it means and what to do, from the docs under its member."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise

from batch_inference_api import reasons

_HEADER = """\
# Reasons

Why a job was refused or failed. `bij` prints them as `error: <Reason>: <message>`, its JSON report
holds them as `reason`, and on a cluster they are the reasons of the resource's conditions. The
message names the file, column or field that it is about. [Exit codes](exit-codes.md) say whether
a rerun helps.

Generated from `batch_inference_api.reasons` by `python -m batch_inference_api.crd --write`.

| Reason | What it means | What to do |
|---|---|---|
"""


def reasons_reference() -> str:
    """Render the reasons as Markdown.

    Raises:
        ValueError: the docs of a reason are not two paragraphs.
    """
    docs = reason_docs()
    return _HEADER + "".join(
        f"| `{reason}` | {meaning} | {advice} |\n" for reason, (meaning, advice) in docs.items()
    )


def reason_docs() -> dict[str, tuple[str, str]]:
    """Meaning and advice of every reason, by its value.

    Raises:
        ValueError: the docs of a reason are not two paragraphs.
    """
    (declaration,) = ast.parse(inspect.getsource(reasons.Reason)).body
    assert isinstance(declaration, ast.ClassDef)
    found = {}
    for statement, following in pairwise([*declaration.body, ast.Pass()]):
        if not isinstance(statement, ast.Assign):
            continue
        value = str(ast.literal_eval(statement.value))
        docs = ast.literal_eval(following.value) if isinstance(following, ast.Expr) else ""
        paragraphs = inspect.cleandoc(docs).split("\n\n")
        if len(paragraphs) != 2:
            raise ValueError(f"the docs of {value} must be two paragraphs: meaning and advice")
        meaning, advice = (" ".join(paragraph.split()) for paragraph in paragraphs)
        found[value] = (meaning, advice)
    return found
