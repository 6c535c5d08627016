"""Builds an image, or finds it built."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testkit.cluster.binaries import CACHE, one_at_a_time
from testkit.images import debian, wheelhouse
from testkit.images.buildah import Buildah, remove_storage
from testkit.images.oci_archive import write_oci_archive
from testkit.images.recipes import OPERATOR, RUNNER, Recipe, digest_of

_FOLDER = CACHE / "images"
_BASE = "localhost/debian-python:shipped"
_BUILDING = "localhost/debian-python:building"
_PROGRAMS = ("buildah", "mmdebstrap")
_ARCHIVES_KEPT = 2
_FOLDER_KEPT_SECONDS = 7 * 24 * 3600


class ImagesUnavailable(Exception):
    """This machine cannot build images; the message says what is missing."""


@dataclass(frozen=True)
class Image:
    """A built image: its name, an OCI archive of it, and the storage that it lies in."""

    name: str
    archive: Path
    buildah: Buildah


def built_image(recipe: Recipe) -> Image:
    """Return the image of the checkout as it is, building what the cache does not hold."""
    _check_machine()
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(_FOLDER / ".lock"):
        image = _image_of(recipe)
        if not image.archive.exists():
            with _said(f"Building the image of the {recipe.name}"):
                _build(recipe, image)
        for used in (image.archive, image.buildah.folder):
            os.utime(used)
        _remove_unused()
    return image


def _image_of(recipe: Recipe) -> Image:
    heavy = digest_of((*RUNNER.pins(), *OPERATOR.pins()), debian.definition())
    digest = recipe.digest(debian.definition())
    return Image(
        name=f"{recipe.repository}:{digest}",
        archive=_FOLDER / f"{recipe.name}-{digest}.tar",
        buildah=Buildah(_FOLDER / f"storage-{heavy}"),
    )


def _build(recipe: Recipe, image: Image) -> None:
    if not image.buildah.has(_BASE):
        system = _made(f"debian-{debian.digest()}", debian.bootstrap, what="Debian with Python")
        image.buildah.import_file_system(system / debian.BUILDING, _BUILDING)
        image.buildah.import_file_system(system / debian.SHIPPED, _BASE)
    pins = recipe.pins()
    wheels = _made(
        f"wheels-{digest_of(pins)}",
        lambda folder: wheelhouse.download(folder, pins),
        what=f"wheels ({', '.join(recipe.requirements)})",
    )
    image.buildah.build(
        recipe.dockerfile,
        image.name,
        wheels=wheels,
        arguments={"BASE_IMAGE": _BASE, "BUILD_IMAGE": _BUILDING},
    )
    with tempfile.TemporaryDirectory(dir=_FOLDER, prefix="exported-") as exported:
        image.buildah.export(image.name, Path(exported))
        write_oci_archive(Path(exported), image.archive, name=image.name)


def _check_machine() -> None:
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise ImagesUnavailable(
            f"{' and '.join(missing)} not found: on Debian, tests/tools/install_cluster_packages "
            f"installs what images are built with"
        )
    if os.geteuid() != 0:
        raise ImagesUnavailable("images are built by root: bootstrapping Debian needs its rights")


def _made(name: str, make: Callable[[Path], None], *, what: str) -> Path:
    """Return a folder of the cache, made aside first, so that half of one is never used."""
    folder = _FOLDER / name
    if not folder.exists():
        with _said(f"Fetching {what}"):
            unfinished = _FOLDER / f"unfinished-{name}"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    os.utime(folder)
    return folder


def _remove_unused() -> None:
    """Remove archives of older code, a gigabyte each, and what nobody has asked for for a week."""
    for recipe in (RUNNER, OPERATOR):
        archives = sorted(
            _FOLDER.glob(f"{recipe.name}-*.tar"), key=lambda path: path.stat().st_mtime
        )
        for archive in archives[:-_ARCHIVES_KEPT]:
            archive.unlink()
    now = time.time()
    for folder in _FOLDER.glob("*-*/"):
        if now - folder.stat().st_mtime > _FOLDER_KEPT_SECONDS:
            remove_storage(folder)


@contextmanager
def _said(what: str) -> Iterator[None]:
    print(f"==> {what}", flush=True)
    began = time.monotonic()
    yield
    print(f"==> {what}: {time.monotonic() - began:.0f} s", flush=True)
