"""The release before this one: its chart, its CRD, and its operator's own code (`tests/data`)."""

from __future__ import annotations

from typing import Any

from testkit.checkout import ROOT
from testkit.cluster.kubectl import Kubectl

VERSION = "0.1.0"
_FOLDER = ROOT / "tests" / "data" / f"release-{VERSION}"
CHART = _FOLDER / "chart"
_MOUNTED_AT = "/previous-release"
_CONFIG_MAP = "previous-release"


def with_its_code(kubectl: Kubectl) -> dict[str, Any]:
    """Put the old code into the operator's namespace; returns values that have it run.

    Python imports from wheels as they are. The libraries, and the runner, are those of the image.
    """
    wheels = sorted(_FOLDER.glob("*.whl"))
    kubectl("create", "configmap", _CONFIG_MAP, *(f"--from-file={wheel}" for wheel in wheels))
    path = ":".join(f"{_MOUNTED_AT}/{wheel.name}" for wheel in wheels)
    return {
        "extraEnv": [{"name": "PYTHONPATH", "value": path}],
        "extraVolumes": [{"name": "code", "configMap": {"name": _CONFIG_MAP}}],
        "extraVolumeMounts": [{"name": "code", "mountPath": _MOUNTED_AT, "readOnly": True}],
    }
