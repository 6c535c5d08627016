"""What the operator relies on in a run's pods: their ports, and what their ends mean.

Standard library only: the supervisor of a pod needs these, and nothing that takes time to import.
"""

from __future__ import annotations

HTTP_PORT = 8080
"""Where index 0 serves `/progress`, `/metrics` and `/join`."""
LIVENESS_PORT = 8081
"""Where the supervisor of each pod answers the kubelet."""
PERMANENT_EXIT_CODES = range(64, 80)
"""A driver's verdict: the same job fails again."""
