"""Where pods read and write: an S3 server, and volumes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from testkit.cluster.component import Command, Component
from testkit.cluster.kubectl import Kubectl, Manifest
from testkit.s3 import ACCESS_KEY, BUCKET, SECRET_KEY

_PORT = 7070


@dataclass(frozen=True)
class ObjectStorage:
    """An S3 server and a bucket on it."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def uri(self, prefix: str) -> str:
        return f"s3://{self.bucket}/{prefix}"

    def secret(self, name: str) -> Manifest:
        """Return the Secret with which a job reaches it."""
        values = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
        }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": values,
        }


def local_object_storage(address: str) -> ObjectStorage:
    return ObjectStorage(f"http://{address}:{_PORT}", BUCKET, ACCESS_KEY, SECRET_KEY)


def start_object_storage(
    component: Component,
    storage: ObjectStorage,
    *,
    program: Path,
    folder: Path,
    namespace: str | None = None,
) -> None:
    """Start versitygw over a folder, on no address but its own, in a namespace if one is given."""
    data, sidecar = folder / "data", folder / "sidecar"
    for each in (data / storage.bucket, sidecar):
        each.mkdir(parents=True, exist_ok=True)
    arguments = (str(program), "--port", storage.endpoint.removeprefix("http://"), "--quiet")
    arguments += ("posix", "--sidecar", str(sidecar), str(data))
    credentials = {"ROOT_ACCESS_KEY": storage.access_key, "ROOT_SECRET_KEY": storage.secret_key}
    component.start(Command(arguments, {**os.environ, **credentials}, namespace))


def create_shared_folder(kubectl: Kubectl, *, namespace: str, claim: str, folder: Path) -> None:
    """Create a claim on a folder of this machine, which is every node's folder too, as with NFS."""
    volume = f"{namespace}-{claim}"
    create_volume(
        kubectl,
        volume,
        folder=folder,
        labels={"tests/namespace": namespace},
        claimRef={"namespace": namespace, "name": claim},
    )
    create_claim(
        kubectl.within(namespace),
        claim,
        accessModes=["ReadWriteMany"],
        storageClassName="",
        volumeName=volume,
    )


def create_volume(
    kubectl: Kubectl, name: str, *, folder: Path, labels: dict[str, str], **spec: object
) -> None:
    """Make a folder a PersistentVolume, for whichever claim comes if the spec says no more."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)  # fsGroup is not applied to such volumes, and pods run as somebody else
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "hostPath": {"path": str(folder)},
                **spec,
            },
        }
    )


def create_claim(kubectl: Kubectl, name: str, **spec: object) -> None:
    """Create a PersistentVolumeClaim, of the cluster's default class unless the spec says more."""
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                **spec,
            },
        }
    )
