"""Whose output this is.

One object, `_bij/claim.json`: the first job to create it owns the location, a later one may take
it over, conditionally on the version it saw, once `_SUCCESS` of the same generation exists or the
claim was released. The owner is namespace, name and plan; the UID is information only.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.exclusive import create_or_read, replace_or_read
from batch_inference_runner.commit.layout import CLAIM, work_of
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.storage.store import NotFound

if TYPE_CHECKING:
    from batch_inference_api.runner_contract import JobIdentity
    from batch_inference_runner.storage.store import Store

CLAIM_VERSION = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """The owner of a location. `generation` grows by one with each new owner."""

    namespace: str
    name: str
    uid: str | None
    plan_hash: str
    mode: str
    generation: int
    released: bool = False
    nonce: str = ""
    """Tells claims of equal content apart, so that a read-back knows its own."""

    @property
    def work(self) -> str:
        """Names this generation of the plan in keys."""
        return work_of(self.plan_hash, self.generation)

    def is_of(self, job: JobIdentity) -> bool:
        """Say whether the job owns the claim."""
        return (self.namespace, self.name) == (job.namespace, job.name)


def make_claim(job: JobIdentity, *, plan_hash: str, mode: str, generation: int) -> Claim:
    """Return a new claim for the job."""
    return Claim(
        namespace=job.namespace,
        name=job.name,
        uid=job.uid,
        plan_hash=plan_hash,
        mode=mode,
        generation=generation,
        nonce=secrets.token_hex(8),
    )


def read_claim(store: Store) -> tuple[Claim, str] | None:
    """Return the claim and its version, None if the location is free."""
    try:
        body, version = store.get_with_version(CLAIM)
    except NotFound:
        return None
    return _parse(store, body), version


def win_claim(store: Store, claim: Claim, *, version: str | None) -> Claim:
    """Create the claim (`version` None) or take over that version; return the claim that holds."""
    body = json.dumps({"version": CLAIM_VERSION, **asdict(claim)}).encode()
    if version is None:
        return _parse(store, create_or_read(store, CLAIM, body))
    return _parse(store, replace_or_read(store, CLAIM, body, version=version))


def release_claim(store: Store, claim: Claim, *, version: str) -> bool:
    """Mark the claim as given up; False if it is not that version any more.

    The object stays, so that the next generation has another number and other names.
    """
    released = replace(claim, released=True, nonce=secrets.token_hex(8))
    return win_claim(store, released, version=version) == released


def check_held(store: Store, claim: Claim) -> None:
    """Raise JobFailed(OutputPathClaimed) if the claim was released or taken over."""
    held = read_claim(store)
    if held is None or held[0].generation != claim.generation or held[0].released:
        raise claim_lost(store, f"the claim {CLAIM!r} was released or taken over")


def claim_lost(store: Store, why: str) -> JobFailed:
    """Make the failure of a run whose location has become another's."""
    return JobFailed(
        Reason.OUTPUT_PATH_CLAIMED,
        f"{store.uri!r} is not this run's any more: {why}; nothing of that result was changed",
    )


def _parse(store: Store, body: bytes) -> Claim:
    try:
        document = json.loads(body)
        if document.pop("version") == CLAIM_VERSION:
            return Claim(**document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # damaged, which needs a person just as a newer version does
    raise JobFailed(
        Reason.VERSION_SKEW,
        f"the claim {store.uri + CLAIM!r} was not written by this release: use the release that "
        f"wrote it, or another output location",
    )
