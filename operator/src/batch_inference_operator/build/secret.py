"""The Secret of a run: its config and its token, for the eyes of its pods only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_inference_operator.build.layout import CONFIG_KEY, TOKEN_KEY

if TYPE_CHECKING:
    from batch_inference_api.runner_contract import RunnerConfig


def build_secret(metadata: dict[str, Any], *, config: RunnerConfig, token: str) -> dict[str, Any]:
    """Immutable, since pods that start at different times must all be told the same."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "immutable": True,
        "stringData": {CONFIG_KEY: config.model_dump_json(), TOKEN_KEY: token},
    }
