"""Which versions of an image a test cluster keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from testkit.cluster.image_store import ImageStore
from testkit.cluster.local import newest_last


class Store(ImageStore):
    """Holds these images, by name, and notes what is removed."""

    def __init__(self, listed: dict[str, str]) -> None:
        super().__init__(())
        self.listed = listed
        self.removed: list[str] = []

    def _listed(self) -> dict[str, str]:
        return self.listed

    def _images(self, *arguments: str) -> str:
        self.removed += [argument for argument in arguments[1:] if argument != "--sync"]
        return ""


def test_an_image_that_is_loaded_again_is_the_newest() -> None:
    loaded: dict[str, str] = {}
    for name in ("runner:a", "runner:b", "runner:c", "runner:a"):
        loaded = newest_last(loaded, name, Path(f"{name}.tar"))
    assert list(loaded) == ["runner:b", "runner:c", "runner:a"]


@pytest.mark.parametrize(
    ("kept", "removed"),
    [
        (["runner:b", "runner:c"], ["runner:a", "sha256:config-a"]),
        (["runner:b", "runner:elsewhere"], ["runner:a", "runner:c", "sha256:config-a"]),
    ],
    ids=["all are there", "one is not on this node"],
)
def test_other_versions_go_with_their_second_names(kept: list[str], removed: list[str]) -> None:
    store = Store(
        {
            "runner:a": "sha256:a",
            "runner:b": "sha256:b",
            "runner:c": "sha256:b",
            "operator:a": "sha256:o",
            "sha256:config-a": "sha256:a",
            "sha256:config-b": "sha256:b",
        }
    )
    store.keep_only("runner", kept)
    assert store.removed == removed
