"""A plan's identity, and how it is written down.

`plan.json` is one JSON object with short arrays, because a dataset may have 10^5 shards and 10^6
files:

    {"version": 1, "hash": "<64 hex>", "spec": {...}, "details": {...},
     "folders": [["file:///data/k=v/", 0, [["k", "v"]]], ...],  uri, location, partition values
     "files": [[0, "a.parquet", 1234, "<version>"], ...],       folder, name, size, version
     "shards": [[[0, 0, 3, 0, 3000], ...], ...]}    pieces: file, start, stop, first row, rows

The hash is the sha256 of the canonical form (sorted keys, no spaces) of everything but `version`,
`hash` and those details that do not decide which bytes come out.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from batch_inference_api.choices import DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.plan.plan import InputFile, Piece, Plan, Shard
from batch_inference_runner.redaction import public_uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batch_inference_api.runner_contract import (
        InputConfig,
        Location,
        ModelConfig,
        OutputConfig,
        RunnerConfig,
    )

PLAN_VERSION = 1
IDENTITY_DETAILS = ("modelDigest", "inputSchema")
"""The details that the hash covers; every plan must have them."""


def identity_of(config: RunnerConfig) -> dict[str, Any]:
    """Return the part of the config that decides which bytes come out, as plain JSON values.

    Inputs, model, bindings, transforms, filter, output format, compression, partitioning,
    passthrough and `onError`. Not covered: the output's location and mode, credentials, sharding
    (the cuts themselves are), execution, batch size, workers and budgets.
    """
    return {
        "input": _input_identity(config.input),
        "model": _model_identity(config.model),
        "preprocessing": [column.model_dump(mode="json") for column in config.preprocessing],
        "postprocessing": [column.model_dump(mode="json") for column in config.postprocessing],
        "output": _output_identity(config.output),
        "onError": config.error_policy.on_error.value,
    }


def make_plan(
    spec: Mapping[str, Any],
    details: Mapping[str, Any],
    files: Sequence[InputFile],
    shards: Sequence[Shard],
) -> Plan:
    """Put a plan together and hash it.

    `spec` is what `identity_of` returned, `details` are plain JSON values with at least the keys
    of `IDENTITY_DETAILS`. Raises ValueError when one of those is missing: a hash that does not
    cover the model would let two models share an output.
    """
    missing = [name for name in IDENTITY_DETAILS if name not in details]
    if missing:
        raise ValueError(f"a plan's details must have {', '.join(map(repr, missing))}")
    body = _body(spec, details, files, shards)
    return Plan(_hash_of(body), dict(spec), dict(details), tuple(files), tuple(shards))


def to_json(plan: Plan) -> bytes:
    """Return the document that is stored as plan.json; the same plan gives the same bytes."""
    body = _body(plan.spec, plan.details, plan.files, plan.shards)
    return _canonical({"version": PLAN_VERSION, "hash": plan.hash, **body})


def from_json(document: bytes) -> Plan:
    """Read plan.json.

    Raises JobFailed(VersionSkew) when another version wrote it, or when it is not what its hash
    says.
    """
    try:
        body = json.loads(document)
        version = body.pop("version")
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable("is not a plan document") from error
    if version != PLAN_VERSION:
        raise _unreadable(f"has version {version!r}, and this runner reads {PLAN_VERSION}")
    try:
        digest = body.pop("hash")
        plan = _plan_of(digest, body)
        actual = _hash_of(body)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _unreadable("lacks parts that every plan has") from error
    if actual != digest:
        raise _unreadable("does not match its own hash")
    return plan


def _uri_of(location: Location) -> str:
    return public_uri(location.uri)


def _input_identity(config: InputConfig) -> dict[str, Any]:
    identity: dict[str, Any] = {
        "uris": [_uri_of(location) for location in config.locations],
        "format": config.format.value,
        "filter": config.filter,
        "keyField": config.key_field,
    }
    if config.format == DataFormat.CSV:
        identity["csv"] = config.csv.model_dump(mode="json")
    return identity


def _model_identity(config: ModelConfig) -> dict[str, Any]:
    return {
        "uri": _uri_of(config.location),
        "digest": config.digest,
        "inputs": [binding.model_dump(mode="json") for binding in config.inputs],
        "outputs": [binding.model_dump(mode="json") for binding in config.outputs],
    }


def _output_identity(config: OutputConfig) -> dict[str, Any]:
    return {
        "format": config.format.value,
        "compression": config.compression,
        "partitionBy": list(config.partition_by),
        "passthroughFields": list(config.passthrough_fields),
    }


def _body(
    spec: Mapping[str, Any],
    details: Mapping[str, Any],
    files: Iterable[InputFile],
    shards: Iterable[Shard],
) -> dict[str, Any]:
    folders: dict[tuple[Any, ...], int] = {}
    rows = []
    for file in files:
        folder, name = _split_uri(public_uri(file.uri))
        key = (folder, file.location, file.partition_values)
        rows.append([folders.setdefault(key, len(folders)), name, file.size, file.version])
    return {
        "spec": spec,
        "details": details,
        "folders": list(folders),
        "files": rows,
        "shards": [
            [[p.file, p.start, p.stop, p.first_row, p.rows] for p in shard.pieces]
            for shard in shards
        ],
    }


def _split_uri(uri: str) -> tuple[str, str]:
    folder, slash, name = uri.rpartition("/")
    return folder + slash, name


def _plan_of(digest: str, body: Mapping[str, Any]) -> Plan:
    folders = [
        (uri, location, tuple((key, value) for key, value in values))
        for uri, location, values in body["folders"]
    ]
    files = []
    for index, name, size, version in body["files"]:
        uri, location, values = folders[index]
        files.append(InputFile(uri + name, size, version, location, values))
    shards = tuple(
        Shard(number, tuple(Piece(*piece) for piece in pieces))
        for number, pieces in enumerate(body["shards"])
    )
    return Plan(digest, body["spec"], body["details"], tuple(files), shards)


def _hash_of(body: Mapping[str, Any]) -> str:
    details = {name: body["details"][name] for name in IDENTITY_DETAILS}
    return hashlib.sha256(_canonical({**body, "details": details})).hexdigest()


def _canonical(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _unreadable(why: str) -> JobFailed:
    return JobFailed(
        Reason.VERSION_SKEW,
        f"the plan in the output location {why}: use the runner release that wrote it, or another "
        "output location",
    )
