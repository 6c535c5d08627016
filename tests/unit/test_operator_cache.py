"""The cache never goes back in time, whatever arrives late, twice or in another order."""

from __future__ import annotations

from typing import Any

from batch_inference_operator.cache import Kind, ObjectCache
from batch_inference_operator.keys import Key, owner_key_of
from batch_inference_operator.names import run_labels

KEY = Key("team", "churn")


def make_job(version: int = 1, *, uid: str = "uid-1", name: str = "churn") -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": uid,
            "resourceVersion": str(version),
        }
    }


def make_pod(name: str, *, owner: str = "uid-1", version: int = 1) -> dict[str, Any]:
    pod = make_job(version, uid=f"pod-{name}", name=name)
    pod["metadata"]["labels"] = run_labels("churn", owner, 1)
    return pod


def version_of(cache: ObjectCache) -> str | None:
    job = cache.get(Kind.JOB, KEY)
    return None if job is None else job["metadata"]["resourceVersion"]


def replace(cache: ObjectCache, *items: dict[str, Any], began: int) -> None:
    cache.replace(Kind.JOB, items, began=began, namespace=None)


def test_an_older_version_does_not_replace_a_newer_one() -> None:
    cache = ObjectCache()
    assert cache.see(Kind.JOB, make_job(10))
    assert not cache.see(Kind.JOB, make_job(9))
    assert version_of(cache) == "10"


def test_versions_are_compared_as_numbers() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(9))
    cache.see(Kind.JOB, make_job(10))
    assert version_of(cache) == "10"


def test_a_version_that_is_no_number_is_taken_as_newer() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(9))
    odd = make_job()
    odd["metadata"]["resourceVersion"] = "opaque"
    assert cache.see(Kind.JOB, odd)


def test_a_late_event_does_not_bring_back_what_was_deleted() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(1))
    cache.forget(Kind.JOB, make_job(2))
    assert not cache.see(Kind.JOB, make_job(1))
    assert not cache.see(Kind.JOB, make_job(3))
    assert cache.get(Kind.JOB, KEY) is None


def test_a_job_of_the_same_name_replaces_the_one_that_was_deleted() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(1, uid="old"))
    cache.see(Kind.JOB, make_job(5, uid="new"))
    cache.forget(Kind.JOB, make_job(4, uid="old"))
    assert version_of(cache) == "5"


def test_a_late_event_of_the_old_job_does_not_replace_the_new_one() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(5, uid="new"))
    assert not cache.see(Kind.JOB, make_job(3, uid="old"))
    assert version_of(cache) == "5"


def test_what_a_list_lacks_is_gone() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(1))
    replace(cache, began=cache.begin_list())
    assert cache.get(Kind.JOB, KEY) is None


def test_what_an_event_brought_since_the_list_began_stays() -> None:
    cache = ObjectCache()
    began = cache.begin_list()
    cache.see(Kind.JOB, make_job(7))
    replace(cache, began=began)
    assert version_of(cache) == "7"


def test_a_list_does_not_undo_an_event_since_it_began() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(5))
    began = cache.begin_list()
    cache.see(Kind.JOB, make_job(7))
    replace(cache, make_job(6), began=began)
    assert version_of(cache) == "7"


def test_a_list_does_not_bring_back_what_was_deleted_since_it_began() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(5))
    began = cache.begin_list()
    cache.forget(Kind.JOB, make_job(6))
    replace(cache, make_job(5), began=began)
    assert cache.get(Kind.JOB, KEY) is None


def test_a_list_after_etcd_was_restored_goes_back() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(100))
    replace(cache, make_job(40), began=cache.begin_list())
    assert version_of(cache) == "40"


def test_a_list_after_etcd_was_restored_brings_back_what_was_deleted() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(100))
    cache.forget(Kind.JOB, make_job(101))
    replace(cache, make_job(40), began=cache.begin_list())
    assert version_of(cache) == "40"
    assert cache.see(Kind.JOB, make_job(41))


def test_the_list_of_one_namespace_leaves_others_alone() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(1))
    cache.replace(Kind.JOB, (), began=cache.begin_list(), namespace="other")
    assert version_of(cache) == "1"


def test_children_are_found_by_the_uid_of_their_job() -> None:
    cache = ObjectCache()
    for name, owner in (("b", "uid-1"), ("a", "uid-1"), ("c", "uid-2")):
        cache.see(Kind.POD, make_pod(name, owner=owner))
    cache.forget(Kind.POD, make_pod("b"))
    names = [pod["metadata"]["name"] for pod in cache.children(Kind.POD, "uid-1")]
    assert names == ["a"]
    assert cache.children(Kind.RUN_JOB, "uid-1") == ()


def test_a_child_whose_label_changes_serves_its_new_job_only() -> None:
    cache = ObjectCache()
    cache.see(Kind.POD, make_pod("a", owner="uid-1", version=1))
    cache.see(Kind.POD, make_pod("a", owner="uid-2", version=2))
    assert cache.children(Kind.POD, "uid-1") == ()
    assert len(cache.children(Kind.POD, "uid-2")) == 1


def test_keys_include_jobs_that_have_nothing_left_but_children() -> None:
    cache = ObjectCache()
    cache.see(Kind.JOB, make_job(name="other", uid="uid-9"))
    cache.see(Kind.POD, make_pod("a"))
    assert cache.job_keys() == {Key("team", "other"), KEY}


def test_what_nobody_reads_is_not_kept() -> None:
    cache = ObjectCache()
    job = make_job()
    job["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    job["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "team": "churn",
    }
    cache.see(Kind.JOB, job)
    kept = cache.get(Kind.JOB, KEY)
    assert kept is not None
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["annotations"] == {"team": "churn"}
    assert "managedFields" in job["metadata"], "what was handed in stays as it was"


def test_pods_without_our_labels_have_no_owner() -> None:
    assert owner_key_of(make_job()) is None
    assert owner_key_of(make_pod("a")) == KEY
