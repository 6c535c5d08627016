"""What is in the images, and what is not."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from testkit.checkout import ROOT
from testkit.images import OPERATOR, RUNNER, Image, ImagesUnavailable, built_image
from testkit.images.recipes import Recipe
from testkit.skipping import skip_or_fail

OF_DATA = {"ray", "pyarrow", "onnxruntime", "numpy", "duckdb", "obstore"}
OF_KUBERNETES = {"kopf", "kubernetes"}
BUILDS = {"pip", "hatchling", "build", "wheel", "editables"}
FORBIDDEN = {
    RUNNER: OF_KUBERNETES | BUILDS | {"batch-inference-operator"},
    OPERATOR: OF_DATA | BUILDS | {"batch-inference-runner"},
}
OWN_LAYER_BYTES = 20_000_000
"""A change of our own code ships no more than this."""


@dataclass(frozen=True)
class Opened:
    """An image with its file system to look at."""

    recipe: Recipe
    image: Image
    root: Path

    @cached_property
    def packages(self) -> Path:
        """The folder with all Python packages."""
        (found,) = self.root.glob("opt/*/lib/python3*/site-packages")
        return found

    @cached_property
    def versions(self) -> dict[str, str]:
        """What is installed."""
        found = map(PathDistribution, self.packages.glob("*.dist-info"))
        return {normalised(each.name): each.version for each in found}

    @cached_property
    def config(self) -> dict:
        return self.image.buildah.config(self.image.name)


@pytest.fixture(scope="module", params=[RUNNER, OPERATOR], ids=lambda recipe: recipe.name)
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    try:
        image = built_image(request.param)
    except ImagesUnavailable as error:
        skip_or_fail(str(error))
    with image.buildah.mounted(image.name) as root:
        yield Opened(request.param, image, root)


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(path: Path) -> dict[str, str]:
    """What a lock file installs in the image."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line.split("--hash")[0].strip() for line in text.splitlines())
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        normalised(pin.name): next(iter(pin.specifier)).version
        for pin in pins
        if pin.marker is None
        or pin.marker.evaluate({"python_full_version": sys.version.split()[0]})
    }


def test_nothing_is_installed_that_the_other_side_needs_or_that_builds(opened: Opened) -> None:
    assert opened.versions.keys() & FORBIDDEN[opened.recipe] == set()
    for program in ("pip", "pip3", "gcc", "cc", "make", "git", "curl"):
        assert not list(opened.root.glob(f"*/bin/{program}")), program
        assert not list(opened.root.glob(f"opt/*/bin/{program}")), program


def test_what_is_installed_is_what_is_pinned_and_our_own(opened: Opened) -> None:
    (layer,) = (name for name in opened.recipe.requirements if name != "build")
    own = {f"batch-inference-{name}" for name in ("api", opened.recipe.name)}
    third_party = {name: v for name, v in opened.versions.items() if name not in own}
    assert own <= opened.versions.keys()
    assert third_party == pinned(ROOT / "requirements" / f"{layer}.txt")


def test_the_user_is_a_number_that_has_a_name_and_is_not_root(opened: Opened) -> None:
    assert opened.config["User"] == "65532:65532"
    assert re.search(r"^\w+:x:65532:65532:", (opened.root / "etc/passwd").read_text(), re.MULTILINE)


def test_the_entrypoint_runs_as_that_user(opened: Opened) -> None:
    (program,) = opened.config["Entrypoint"]
    expected = {"runner": "bij", "operator": "batch-inference-operator"}[opened.recipe.name]
    assert program == expected
    said = opened.image.buildah.run(opened.image.name, program, "--version")
    assert opened.versions[f"batch-inference-{opened.recipe.name}"] in said


@pytest.mark.parametrize("opened", [RUNNER], ids=["runner"], indirect=True)
def test_models_find_the_locale_in_which_they_fold_case(opened: Opened) -> None:
    program = "import locale; print(locale.setlocale(locale.LC_CTYPE, 'en_US.UTF-8'), 'Ä'.lower())"
    said = opened.image.buildah.run(opened.image.name, "/opt/bij/bin/python", "-c", program)
    assert said.split() == ["en_US.UTF-8", "ä"]


def test_labels_say_what_it_is(opened: Opened) -> None:
    labels = opened.config["Labels"]
    prefix = "org.opencontainers.image"
    name = f"batch-inference-{opened.recipe.name}"
    assert labels[f"{prefix}.title"] == name
    assert labels[f"{prefix}.licenses"] == "Apache-2.0"
    assert labels[f"{prefix}.version"] == opened.versions[name]


def test_nobody_gets_more_rights_than_they_came_with(opened: Opened) -> None:
    privileged = [
        path.relative_to(opened.root)
        for path in files_of(opened.root)
        if path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID)
    ]
    assert privileged == []


def test_only_the_user_of_the_machine_that_built_it_could_change_it(opened: Opened) -> None:
    writable = [
        path.relative_to(opened.root)
        for path in files_of(opened.root / "opt")
        if path.lstat().st_uid != 0 or path.lstat().st_mode & stat.S_IWOTH
    ]
    assert writable == []


def test_caches_and_lists_of_packages_stay_behind(opened: Opened) -> None:
    root = opened.root
    assert not list(root.glob("root/.cache")) + list(root.glob("tmp/*"))
    assert not list(root.glob("var/cache/apt/archives/*.deb"))
    lists = [path for path in root.glob("var/lib/apt/lists/*") if path.is_file()]
    assert sum(path.stat().st_size for path in lists) == 0


def test_all_bytecode_is_there_and_is_not_compared_with_its_source(opened: Opened) -> None:
    """The root file system is read-only: what is not compiled is compiled at each start."""
    compiled = list(opened.packages.rglob("*.pyc"))
    sources = [path for path in opened.packages.rglob("*.py") if "__pycache__" not in path.parts]
    assert len(compiled) > 0.98 * len(sources), "some sources are for other Pythons, no more"
    for name in ("batch_inference_api", f"batch_inference_{opened.recipe.name}"):
        assert compiled_of(opened.packages / name) == sources_of(opened.packages / name)
    unchecked = (0b01).to_bytes(4, "little")  # the flags of PEP 552
    assert all(path.read_bytes()[4:8] == unchecked for path in compiled)


def sources_of(package: Path) -> set[Path]:
    return {path.with_suffix("") for path in package.rglob("*.py")}


def compiled_of(package: Path) -> set[Path]:
    return {
        path.parent.parent / path.name.split(".")[0] for path in package.rglob("__pycache__/*.pyc")
    }


def test_nothing_tells_where_it_was_built(opened: Opened) -> None:
    here = str(ROOT).encode()
    for name in ("batch_inference_api", f"batch_inference_{opened.recipe.name}"):
        assert not [path for path in files_of(opened.packages / name) if here in path.read_bytes()]
    assert not list(opened.packages.glob("*.dist-info/direct_url.json"))


def test_our_own_code_is_a_thin_layer_above_all_others(opened: Opened) -> None:
    sizes = layer_sizes(opened.image.archive)
    shown = ", ".join(f"{size / 1e6:.1f}" for size in sizes)
    print(f"{opened.image.name}: {sum(sizes) / 1e6:.0f} MB in layers of {shown} MB")
    assert sizes[-1] < OWN_LAYER_BYTES
    assert sizes[-1] < sum(sizes) / 10


def layer_sizes(archive: Path) -> list[int]:
    """Bytes of each layer, uncompressed, in order."""
    with tarfile.open(archive) as tar:
        (described,) = read_json(tar, "index.json")["manifests"]
        manifest = read_json(tar, f"blobs/sha256/{described['digest'].removeprefix('sha256:')}")
    return [layer["size"] for layer in manifest["layers"]]


def read_json(tar: tarfile.TarFile, name: str) -> dict:
    content = tar.extractfile(name)
    assert content is not None
    return json.load(content)


def files_of(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                yield path
