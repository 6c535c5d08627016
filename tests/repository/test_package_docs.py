"""A package's docstring is where a stranger begins: it names every module that is there."""

import ast
import re

import pytest

from testkit.checkout import ROOT

PACKAGE = ROOT / "runner" / "src" / "batch_inference_runner"
MODULES = sorted(
    path.relative_to(PACKAGE)
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py", "version.py")
)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_is_named_in_the_docs_of_its_package(module):
    tree = ast.parse((PACKAGE / module.parent / "__init__.py").read_text())
    assert re.search(rf"\b{module.stem}\b", ast.get_docstring(tree) or "")
