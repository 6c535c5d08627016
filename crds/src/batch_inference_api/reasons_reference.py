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

## To run a job again

With `bij run`: the same command again. On a cluster a job that has failed stays failed, so delete
it, change the manifest, and apply it under the **same name**:

    kubectl delete bij NAME
    kubectl apply -f job.yaml

Where Flux or Argo CD applies the manifest, change it in Git, wait until the tool has seen the
change, and only then delete the job: the tool creates it again, and from the old manifest if it
knows no newer one. Deleting a job never deletes its output.

An unfinished output belongs to the job that began it, by namespace and name. That job resumes:
committed shards are not scored again. A job with another name is refused (`OutputPathClaimed`).

What may change before a job runs again:

* Limits, deadlines, credentials, `spec.workers`, `spec.batching` and `spec.execution`: it resumes
  with the new values. `batchSize: auto` goes on with the size that the job began with, given or
  found. `spec.sharding` has no effect any more: the shards are planned.
* Everything that decides what is written (input, model, transforms, format and columns of the
  output, `errorPolicy.onError`) and `output.mode`: the job is refused, so use another output.

On a cluster most fields cannot change while the job exists, so most advice below means: delete the
job, change the field, apply it again. [What may change](kubernetes.md#what-may-change) without
that: limits and deadlines until the job has failed, and `spec.workers` while it is suspended.

## To free an output

`bij gc OUTPUT --release` gives an unfinished job up: it **deletes everything that the job has
committed** in that output. Make sure that the job does not run. Where the output is a `pvc://` URI,
run `bij gc` and `bij verify` in a pod that mounts the claim, such as
[`files` of example 06](../examples/06-volume/files.yaml):

    kubectl exec files -- bij gc /scoring/output --release

## All reasons

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
