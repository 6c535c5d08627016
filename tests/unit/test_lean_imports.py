"""What a start leaves out, and what is put back for those who import it later."""

from __future__ import annotations

import gc
import re
import string
import sys

import pytest

from batch_inference_runner import lean_imports


def test_a_refused_module_looks_as_if_it_were_not_installed(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, "this", raising=False)
    lean_imports.refuse("this")
    with pytest.raises(ModuleNotFoundError, match="this is not needed here"):
        __import__("this")


def test_a_replaced_module_is_the_real_one_again_afterwards(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with lean_imports.replaced("colorsys", hue=1):
        assert vars(__import__("colorsys"))["hue"] == 1
    assert hasattr(__import__("colorsys"), "rgb_to_hls")


def test_a_module_that_is_imported_already_is_not_replaced():
    with lean_imports.replaced("gc", collect=None):
        assert __import__("gc").collect is not None
    assert sys.modules["gc"] is gc


@pytest.fixture
def user(monkeypatch, tmp_path) -> str:
    """The name of a module that imports `colorsys` in both ways."""
    (tmp_path / "user_of_colors.py").write_text("import colorsys\nfrom colorsys import ONE_THIRD\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("colorsys", "user_of_colors"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "user_of_colors"


def test_a_deferred_module_is_imported_when_more_of_it_is_used(user):
    with lean_imports.deferred("colorsys", ONE_THIRD=3):
        module = __import__(user)
    assert module.ONE_THIRD == 3
    assert "colorsys" not in sys.modules
    assert module.colorsys.rgb_to_hls(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0)
    assert module.colorsys.ONE_THIRD == 3
    assert sys.modules["colorsys"].ONE_THIRD == 1 / 3


def test_a_deferred_module_that_is_used_at_once_is_the_real_one_from_then_on(user):
    with lean_imports.deferred("colorsys"):
        module = __import__(user)
        real = sys.modules["colorsys"]
        assert (module.ONE_THIRD, real.ONE_THIRD) == (1 / 3, 1 / 3)
    assert sys.modules["colorsys"] is real


def test_a_module_that_is_imported_already_is_not_deferred():
    with lean_imports.deferred("gc"):
        assert sys.modules["gc"] is gc


def test_the_collector_is_back_after_the_imports():
    with lean_imports.uncollected(), lean_imports.uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_is_replaced_in_a_module_is_its_own_again_afterwards():
    own = string.capwords
    with lean_imports.replaced_in(string, capwords=str.upper):
        assert string.capwords("a") == "A"
    assert string.capwords is own


def test_an_expression_is_compiled_when_it_is_first_used():
    with lean_imports.uncompiled():
        broken, whole = re.compile("("), re.compile("(B+)", flags=re.IGNORECASE)
    with pytest.raises(re.error, match="unterminated"):
        broken.match("")
    assert whole.search("abba")[1] == "bb"
    assert (whole.pattern, whole.groups) == ("(B+)", 1)
    assert type(re.compile("c")) is re.Pattern


def test_an_expression_that_is_not_compiled_yet_stands_where_a_pattern_may():
    with lean_imports.uncompiled():
        pattern = re.compile("b+")
    assert isinstance(pattern, re.Pattern)
    assert re.compile(pattern).fullmatch("bb")
    assert re.sub(pattern, "-", "abba") == "a-a"
