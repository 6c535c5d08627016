"""What each image is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from testkit.checkout import ROOT


@dataclass(frozen=True)
class Recipe:
    """An image, its Dockerfile and what that copies; the names are those of the repository."""

    name: str
    requirements: tuple[str, ...]
    projects: tuple[str, ...]

    @property
    def dockerfile(self) -> Path:
        return ROOT / self.name / "Dockerfile"

    @property
    def repository(self) -> str:
        return f"localhost/batch-inference-{self.name}"

    def pins(self) -> tuple[Path, ...]:
        """The lock files whose wheels are installed."""
        return tuple(ROOT / "requirements" / f"{layer}.txt" for layer in self.requirements)

    def digest(self, *more: str) -> str:
        """Name what the image is made from, and `more`: equal digests, equal images."""
        files = [self.dockerfile, ROOT / ".dockerignore", *self.pins(), *self._sources()]
        return digest_of(files, *more)

    def _sources(self) -> Iterator[Path]:
        for project in self.projects:
            yield ROOT / project / "pyproject.toml"
            for path in sorted((ROOT / project / "src").rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    yield path


RUNNER = Recipe("runner", requirements=("build", "runtime"), projects=("crds", "runner"))
OPERATOR = Recipe("operator", requirements=("build", "operator"), projects=("crds", "operator"))


def digest_of(files: Iterable[Path], *more: str) -> str:
    """Hash names and contents of files of the checkout, and `more`, to 16 hexadecimal digits."""
    digest = hashlib.sha256("\0".join(more).encode())
    for path in files:
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
