"""A package's docstring is where a stranger begins: it names every module that is there."""

import ast
import re

import pytest

from testkit.checkout import ROOT

MODULES = sorted(
    path.relative_to(ROOT)
    for project in ("crds", "operator", "runner")
    for path in (ROOT / project / "src").rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py", "version.py")
)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_is_named_in_the_docs_of_its_package(module):
    tree = ast.parse((ROOT / module.parent / "__init__.py").read_text())
    assert re.search(rf"\b{module.stem}\b", ast.get_docstring(tree) or "")
