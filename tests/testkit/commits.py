"""A small job, and a driver for it that does nothing but commit."""

from __future__ import annotations

import hashlib

import pytest

from batch_inference_api.runner_contract import RunnerConfig
from batch_inference_runner.commit import exclusive, marker, probe, publish
from batch_inference_runner.commit.layout import REJECTS, part_stem, stage_key
from batch_inference_runner.commit.output import Output
from batch_inference_runner.commit.staged import StagedFile, StagedShard
from batch_inference_runner.plan.document import IDENTITY_DETAILS, identity_of, make_plan
from batch_inference_runner.plan.plan import InputFile, Piece, Shard

ROWS = 3


def do_not_pause(patch: pytest.MonkeyPatch) -> None:
    """Let what has failed be tried again at once."""
    for module in (exclusive, marker, probe, publish):
        patch.setattr(module, "DELAYS_SECONDS", (0.0, 0.0, 0.0))


def make_config(*, name="job", mode="ErrorIfExists", model="file:///m.onnx", uid=None):
    return RunnerConfig.model_validate(
        {
            "job": {"name": name, "namespace": "default", "uid": uid},
            "model": {"location": {"uri": model}},
            "input": {"locations": [{"uri": "file:///in/"}], "format": "Parquet"},
            "output": {
                "location": {"uri": "file:///out/"},
                "format": "JSONLines",
                "mode": mode,
                "compression": "none",
            },
        }
    )


def plan_of(config, *, shards=3):
    """A plan of one file with ROWS rows a shard; one row of each is rejected."""
    return make_plan(
        identity_of(config),
        dict.fromkeys(IDENTITY_DETAILS, "x"),
        [InputFile("file:///in/a.parquet", 100, "1", 0)],
        [Shard(i, (Piece(0, i, i + 1, i * ROWS, ROWS),)) for i in range(shards)],
    )


def stage(store, output, shard, attempt, *, by_attempt=False):
    """Score a shard: ROWS - 1 rows to a part file, one to the rejects.

    `by_attempt`: the part lies in a folder that depends on the attempt, as with `partitionBy` and
    a model that is not deterministic.
    """
    stem = part_stem(shard, output.work)
    folder = f"by={attempt}/" if by_attempt else ""
    part = "".join(f"{shard} {row} {attempt}\n" for row in range(ROWS - 1))
    files = (
        _stage_file(store, output, (shard, attempt), (f"{folder}{stem}.jsonl", part, ROWS - 1)),
        _stage_file(
            store,
            output,
            (shard, attempt),
            (f"{REJECTS}/{stem}.jsonl", f"{shard} {ROWS - 1} {attempt}\n", 1),
        ),
    )
    return StagedShard(shard, attempt, files, ROWS, ROWS - 1, 1, 0, {"ort": "1"}, ())


def _stage_file(store, output, of, content):
    path, text, rows = content
    sink = store.open_sink(stage_key(output.work, *of, path))
    sink.write(text.encode())
    written = sink.commit()
    kind = "rejects" if path.startswith(REJECTS) else "part"
    return StagedFile(written.key, path, kind, written.size, written.sha256, rows)


def drive(store, config, *, attempt, shards=3, by_attempt=False):
    """Run the job to its end, or until the store fails; return the manifest."""
    output = Output.open(store, config, lambda: plan_of(config, shards=shards))
    if output.complete is not None:
        return output.finalize(run={})
    done = output.committed()
    todo = [shard.number for shard in output.plan.shards if shard.number not in done]
    for start in range(0, len(todo), 2):
        group = [
            stage(store, output, shard, attempt, by_attempt=by_attempt)
            for shard in todo[start : start + 2]
        ]
        output.commit(group)
    return output.finalize(run={"attempt": attempt})


def commit_and_lose(store, config, *, staged_too=True):
    """Commit every shard and delete a file of one, published or staged; return output and file."""
    output = Output.open(store, config, lambda: plan_of(config))
    output.commit([stage(store, output, shard, "a") for shard in range(3)])
    lost = output.committed()[1].files[0]
    store.delete([lost.path, lost.staged_key] if staged_too else [lost.path])
    return output, lost


def expected_rows(shards=3):
    """What both readers must see, once each."""
    return sorted((str(s), str(row)) for s in range(shards) for row in range(ROWS - 1))


def sha256_of(body):
    return hashlib.sha256(body).hexdigest()
