# ruff: noqa: INP001 - a script, and no part of the package
"""Writes all that `kubectl apply --server-side -f` needs to install the operator, in one document.

It is the Helm chart with its defaults, and a namespace around it, so that there is one source of
what is installed. `helm` is taken from HELM, or from PATH.

    python operator/manifests/render.py --operator-image IMAGE --runner-image IMAGE > install.yaml
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

CHART = Path(__file__).parents[2] / "charts" / "batch-inference-operator"
NAMESPACE = "batch-inference"
_NAMESPACE_MANIFEST = f"""\
# All of the operator itself. Jobs and their pods stay in the namespaces of their teams.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
"""
_IMAGE = re.compile(
    r"((?P<registry>[^/]*[.:][^/]*|localhost)/)?(?P<repository>[^:@]+)"
    r"(:(?P<tag>[^@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def main() -> int:
    """Print the manifests; returns the exit code of `helm`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operator-image", default="", help="default: as in the chart")
    parser.add_argument("--runner-image", default="", help="default: as in the chart")
    options = parser.parse_args()
    images = {"image": options.operator_image, "runner.image": options.runner_image}
    flags = [flag for key, image in images.items() if image for flag in image_flags(key, image)]
    command = [os.environ.get("HELM", "helm"), "template", "batch-inference-operator", str(CHART)]
    try:
        done = subprocess.run(
            [*command, f"--namespace={NAMESPACE}", "--skip-tests", *flags],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        sys.stderr.write("helm was not found: https://helm.sh/docs/intro/install\n")
        return 1
    if done.returncode == 0:
        sys.stdout.write(_NAMESPACE_MANIFEST + done.stdout)
    return done.returncode


def image_flags(key: str, image: str) -> list[str]:
    """Flags of Helm that set an image: its parts, empty where it has none."""
    parts = _IMAGE.fullmatch(image)
    if parts is None:
        raise SystemExit(f"{image!r} is not the name of an image")
    return [f"--set-string={key}.{name}={part or ''}" for name, part in parts.groupdict().items()]


if __name__ == "__main__":
    sys.exit(main())
