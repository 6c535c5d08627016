"""The watch of cluster tests goes on when kubectl ends, as it does when an API server restarts."""

from __future__ import annotations

from pathlib import Path

from testkit.cluster.kubectl import Kubectl
from testkit.deadlines import wait_for
from testkit.watch import Event, Watch

KUBECTL = """#!/bin/sh
cd {folder}
if mkdir called; then
    echo '{{"type": "ADDED", "object": {{"metadata": {{"name": "a"}}}}}}'
    echo '{{"type": "MODIFIED", "object": {{"metadata": {{"name": "a"}}}}}}'
    printf '{{"type": "MODIFI'
    exit 1
fi
echo '{{"type": "ADDED", "object": {{"metadata": {{"name": "b"}}}}}}'
exec sleep 60
"""


def test_a_watch_goes_on_when_kubectl_ends(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL.format(folder=tmp_path))
    program.chmod(0o755)
    told: list[str] = []

    def take(event: Event) -> None:
        told.append(f"{event.kind} {event.object['metadata']['name']}")

    watch = Watch(
        Kubectl(program, tmp_path / "kubeconfig"),
        "pods",
        take=take,
        begin=lambda: told.append("begun"),
    )
    with watch:
        wait_for(lambda: "ADDED b" in told, seconds=20, what="the second kubectl")
        assert watch.is_running()
    assert told == ["begun", "ADDED a", "MODIFIED a", "begun", "ADDED b"]
    assert not watch.is_running()
