"""The names of everything below an output location. Pure.

    part-000042-1f3a9c2e.parquet            published, immutable
    _rejects/part-000042-1f3a9c2e.parquet   only if rows were rejected
    _SUCCESS                                the manifest, written last
    _bij/claim.json                         whose output this is
    _bij/probe/..., _bij/tmp/...            of a moment: the store's probe, files half written
    _bij/<work>/plan.json                   immutable
    _bij/<work>/stage/<h2>/[<folders>/]<shard>-<attempt>.<file>
    _bij/<work>/commit/<h2>/<shard>.json    the commit point

`work` names one generation of one plan: the plan's hash for the first job that writes to a
location, a hash of plan and generation for those that overwrite or append. A name is therefore
never used twice, even if B replaces A and then A replaces B, so neither a zombie's late publish
nor its late delete can hit a later result.
"""

from __future__ import annotations

from functools import lru_cache

INTERNAL = "_bij"
REJECTS = "_rejects"
SUCCESS = "_SUCCESS"
CLAIM = "_bij/claim.json"
PROBES = "_bij/probe"
PART_PREFIX = "part-"

_SHARDS_PER_FOLDER_BITS = 6


def work_of(plan_hash: str, generation: int) -> str:
    """Name one generation of a plan, as 64 hex digits."""
    if generation == 1:
        return plan_hash
    return _sha256(f"{plan_hash}:{generation}")


def part_stem(shard: int, work: str) -> str:
    """Return the published name of a shard's file without its extension."""
    return f"{PART_PREFIX}{shard:06d}-{work[:8]}"


def work_folder(work: str) -> str:
    """Return the folder of everything that belongs to one generation of a plan."""
    return f"{INTERNAL}/{work}"


def plan_key(work: str) -> str:
    """Return the key of the plan's document."""
    return f"{INTERNAL}/{work}/plan.json"


def stage_folder(work: str) -> str:
    """Return the folder in which attempts leave their files."""
    return f"{INTERNAL}/{work}/stage"


def stage_key(work: str, shard: int, attempt: str, path: str) -> str:
    """Return where an attempt writes the file that will be published under `path`.

    Folders keep their names: one of a partition may be as long as a file system allows already.
    """
    folders, slash, name = path.rpartition("/")
    above = f"{INTERNAL}/{work}/stage/{_fan_out(shard)}/{folders}{slash}"
    return f"{above}{shard:06d}-{attempt}.{name}"


def commit_folder(work: str) -> str:
    """Return the folder of the markers."""
    return f"{INTERNAL}/{work}/commit"


def marker_key(work: str, shard: int) -> str:
    """Return the key of a shard's commit marker."""
    return f"{INTERNAL}/{work}/commit/{_fan_out(shard)}/{shard:06d}.json"


def is_part(key: str) -> bool:
    """Say whether a reader's `part-*` glob, recursive or not, could take the key for a result."""
    return key.rpartition("/")[2].startswith(PART_PREFIX)


def is_hidden(key: str) -> bool:
    """Say whether readers of data skip the key: a part of it begins with `_` or `.`."""
    return any(name.startswith(("_", ".")) for name in key.split("/"))


def _fan_out(shard: int) -> str:
    """Return one of 256 folders, so that object stores can spread the load.

    Shards that are neighbours share a folder: they are committed together, and on a file system
    every folder of a group costs a sync.
    """
    return _folder_of(shard >> _SHARDS_PER_FOLDER_BITS)


@lru_cache(maxsize=4096)
def _folder_of(group: int) -> str:
    return _sha256(str(group))[:2]


def _sha256(text: str) -> str:
    import hashlib  # loads OpenSSL, and before a run's first row only a name from here is needed

    return hashlib.sha256(text.encode()).hexdigest()
