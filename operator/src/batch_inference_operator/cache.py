"""The last known state of BatchInferenceJobs, their run Jobs and pods, as the server sent it.

Events and lists arrive late, twice, and in any order between each other. Three rules keep the cache
from going back in time:

* An object is never replaced by an older version of it. Versions are compared as integers: etcd
  revisions always were, and since Kubernetes 1.35 that is promised (KEP-5504).
* Whatever was deleted is remembered by its UID: an event that comes late does not bring it back.
* A list is the truth about all that no event has touched since the list began. It is read from
  etcd's quorum, so it may even go back: after a restore of etcd, that is what happened.

What is handed out is shared: it must not be changed.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batch_inference_operator.keys import Key, key_of, owner_key_of
from batch_inference_operator.names import JOB_UID_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Item = Mapping[str, Any]

_REMEMBERED_DELETIONS = 20_000
"""UIDs of deleted objects; a late event is late by minutes, not by so many deletions."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Kind(StrEnum):
    """The kinds that are watched."""

    JOB = "BatchInferenceJob"
    RUN_JOB = "Job"
    POD = "Pod"


class ObjectCache:
    """Objects by kind and key, and children by the UID of the BatchInferenceJob that they serve."""

    def __init__(self) -> None:
        self._shelves = {kind: _Shelf() for kind in Kind}
        self._clock = 0

    def see(self, kind: Kind, item: Item) -> bool:
        """Take in an object from an event; False: it is older than what is known, or gone."""
        self._clock += 1
        return self._shelves[kind].see(_slim(item), self._clock)

    def forget(self, kind: Kind, item: Item) -> None:
        """Drop an object of which an event says that it was deleted."""
        self._clock += 1
        self._shelves[kind].forget(key_of(item), item["metadata"]["uid"], self._clock)

    def begin_list(self) -> int:
        """Note, before a list is asked for, when that was; `replace` wants to know."""
        self._clock += 1
        return self._clock

    def replace(
        self, kind: Kind, items: Iterable[Item], *, began: int, namespace: str | None
    ) -> None:
        """Take in a whole list; what it lacks is gone, unless an event came since it began."""
        slim = [_slim(item) for item in items]
        self._shelves[kind].replace(slim, began=began, namespace=namespace)

    def get(self, kind: Kind, key: Key) -> Item | None:
        """The last known state of one object; None: there is none of that name."""
        return self._shelves[kind].get(key)

    def children(self, kind: Kind, owner_uid: str) -> tuple[Item, ...]:
        """Run Jobs or pods of the BatchInferenceJob with this UID."""
        return self._shelves[kind].children(owner_uid)

    def all(self, kind: Kind) -> tuple[Item, ...]:
        """All objects of a kind."""
        return self._shelves[kind].all()

    def job_keys(self) -> frozenset[Key]:
        """Keys of all BatchInferenceJobs, and of those that have nothing left but children."""
        children = (*self.all(Kind.RUN_JOB), *self.all(Kind.POD))
        owners = (owner_key_of(child) for child in children)
        jobs = (key_of(job) for job in self.all(Kind.JOB))
        return frozenset((*jobs, *(owner for owner in owners if owner is not None)))


class _Shelf:
    """Objects of one kind."""

    def __init__(self) -> None:
        self._items: dict[Key, Item] = {}
        self._touched: dict[Key, int] = {}
        self._by_owner: dict[str, set[Key]] = {}
        self._deleted: OrderedDict[str, int] = OrderedDict()

    def see(self, item: Item, now: int) -> bool:
        key = key_of(item)
        known = self._items.get(key)
        if item["metadata"]["uid"] in self._deleted or (known and _is_older(item, known)):
            return False
        self._put(key, item)
        self._touched[key] = now
        return True

    def forget(self, key: Key, uid: str, now: int) -> None:
        self._deleted[uid] = now
        while len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        known = self._items.get(key)
        if known is not None and known["metadata"]["uid"] == uid:
            self._drop(key)

    def replace(self, items: list[Item], *, began: int, namespace: str | None) -> None:
        listed = {key_of(item): item for item in items}
        for key in list(self._items):
            in_scope = namespace is None or key.namespace == namespace
            if in_scope and key not in listed and self._touched.get(key, -1) < began:
                self._drop(key)
        for key, item in listed.items():
            if not self._is_overtaken(key, item, began):
                self._deleted.pop(item["metadata"]["uid"], None)
                self._put(key, item)

    def get(self, key: Key) -> Item | None:
        return self._items.get(key)

    def children(self, owner_uid: str) -> tuple[Item, ...]:
        keys = self._by_owner.get(owner_uid, ())
        return tuple(self._items[key] for key in sorted(keys))

    def all(self) -> tuple[Item, ...]:
        return tuple(self._items.values())

    def _is_overtaken(self, key: Key, item: Item, began: int) -> bool:
        """Whether an event since the list began knows better than the list."""
        if self._deleted.get(item["metadata"]["uid"], -1) >= began:
            return True
        known = self._items.get(key)
        touched = self._touched.get(key, -1) >= began
        return known is not None and touched and _is_older(item, known)

    def _put(self, key: Key, item: Item) -> None:
        self._drop(key)
        self._items[key] = item
        if owner := _owner_uid(item):
            self._by_owner.setdefault(owner, set()).add(key)

    def _drop(self, key: Key) -> None:
        item = self._items.pop(key, None)
        self._touched.pop(key, None)
        owner = None if item is None else _owner_uid(item)
        if owner and owner in self._by_owner:
            self._by_owner[owner].discard(key)
            if not self._by_owner[owner]:
                del self._by_owner[owner]


def _owner_uid(item: Item) -> str | None:
    uid: str | None = (item["metadata"].get("labels") or {}).get(JOB_UID_LABEL)
    return uid


def _is_older(item: Item, known: Item) -> bool:
    """Whether `item` is a version before `known`; a version that is no number is taken as newer."""
    version, than = (each["metadata"].get("resourceVersion", "") for each in (item, known))
    if not (version.isdecimal() and than.isdecimal()):
        return False
    return int(version) < int(than)


def _slim(item: Item) -> Item:
    """The object without what nobody reads and what makes up half of its size."""
    metadata = {name: value for name, value in item["metadata"].items() if name != "managedFields"}
    annotations = metadata.get("annotations")
    if annotations:
        metadata["annotations"] = {
            name: value for name, value in annotations.items() if name != _LAST_APPLIED
        }
    return {**item, "metadata": metadata}
