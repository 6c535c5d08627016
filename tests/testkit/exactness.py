"""Every row exactly once, with the scores of a plain loop."""

from __future__ import annotations

import numpy as np

from testkit.jobs import Job


def assert_exact(job: Job, scores: np.ndarray) -> None:
    """The manifest's counts, a plain reader and `bij verify` agree; `scores` is by id."""
    rows = len(scores)
    assert job.manifest()["counts"] == {
        "read": rows,
        "written": rows,
        "rejected": 0,
        "filtered": 0,
    }
    found = np.full(rows, np.nan, dtype=np.float32)
    listed = job.rows()
    ids = np.array([row["id"] for row in listed])
    assert len(ids) == rows
    assert len(np.unique(ids)) == rows
    found[ids] = [row["score"] for row in listed]
    np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-6)
    verified = job.verify()
    assert verified.code == 0, verified.stdout + verified.stderr


def markers_of(job: Job) -> dict[str, bytes]:
    """The commit markers of a local output."""
    return {
        str(path): path.read_bytes()
        for path in (job.output / "_bij").glob("*/commit/**/*.json")
        if path.is_file()
    }


def attempts_of(job: Job) -> frozenset[str]:
    """The attempts that a local output has records of, whatever became of them."""
    return frozenset(path.stem for path in (job.output / "_bij").glob("*/attempts/*.json"))
