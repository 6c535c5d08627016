"""Where data and models lie: which URIs a job may name."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

SCHEMES = ("file", "s3", "gs", "az", "https", "pvc")
WRITABLE_SCHEMES = tuple(scheme for scheme in SCHEMES if scheme != "https")

_SEPARATOR = "://"
_ALMOST_URI = rf"({'|'.join(SCHEMES)}):|([a-z][a-z0-9+.-]*):/"
_VARIABLE = r"\$\{\w+\}|(?:^|/)\$[A-Za-z_]\w*"
_CLAIM_PATTERN = "[a-z0-9]([-a-z0-9.]*[a-z0-9])?"


def scheme_of(uri: str) -> str | None:
    """The scheme of a URI, or None for a plain path."""
    scheme, separator, _ = uri.partition(_SEPARATOR)
    return scheme if separator else None


def check_uri(uri: str) -> str:
    """Refuse a URI that no store could open. Messages never quote it: it may hold a secret."""
    scheme = scheme_of(uri)
    if scheme is None:
        _check_path(uri)
        return uri
    if scheme not in SCHEMES:
        raise ValueError(f"scheme {scheme!r} is not one of {', '.join(SCHEMES)}")
    rest = uri.partition(_SEPARATOR)[2]
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise ValueError("must not hold a user or password; put credentials in a secretRef")
    if scheme == "file" and authority:
        raise ValueError("a file URI has three slashes: file:///folder/file")
    if scheme != "file" and not authority:
        raise ValueError(f"names no {_AUTHORITIES.get(scheme, 'bucket')} after '{scheme}://'")
    if scheme == "pvc" and not re.fullmatch(_CLAIM_PATTERN, authority):
        raise ValueError(
            "the claim after 'pvc://' must have lower-case letters, digits, '-' and '.', and begin "
            "and end with a letter or digit"
        )
    if ".." in path.split("/"):
        raise ValueError("must not hold a '..' segment")
    return uri


def _check_path(path: str) -> None:
    """Refuse a path that is none: it would be the name of a folder, without a word, and written.

    One that begins with './' is meant as it is.
    """
    if not path.strip():
        raise ValueError("must not be blank")
    if path.startswith("./"):
        return
    if almost := re.match(_ALMOST_URI, path, re.IGNORECASE):
        raise ValueError(f"a URI has '://' after {almost[1] or almost[2]!r}; {_AS_IT_IS}")
    if path == "~" or path.startswith("~/"):
        raise ValueError(f"'~' stands for no folder here: write the whole path; {_AS_IT_IS}")
    if variable := re.search(_VARIABLE, path):
        name = variable[0].removeprefix("/")
        raise ValueError(f"{name!r} stands for no variable here: write the whole path; {_AS_IT_IS}")


_AS_IT_IS = "a path that is really called so begins with './'"


def check_target(uri: str) -> str:
    """Refuse a URI that cannot be written to."""
    check_uri(uri)
    if scheme_of(uri) == "https":
        raise ValueError(f"https is read only: write to one of {', '.join(WRITABLE_SCHEMES)}")
    if "*" in uri or "?" in uri:
        raise ValueError("must name one folder, without '*' or '?'")
    return uri


_AUTHORITIES = {"https": "host", "pvc": "claim", "az": "container"}


def _rule(rule: str, message: str) -> dict[str, str]:
    return {"rule": rule, "message": message}


def _absolute(schemes: tuple[str, ...]) -> list[dict[str, str]]:
    """The rules of the server, which knows no plain paths, in place of `check_uri`."""
    remote = "|".join(scheme for scheme in schemes if scheme != "file")
    return [
        _rule(
            f"self.matches('^(file:///|({remote})://[^/@]+(/|$))')",
            f"must be a URI with one of the schemes {', '.join(schemes)}, without user or "
            "password; plain paths work with `bij run` only",
        ),
        _rule(
            f"!self.startsWith('pvc://') || self.matches('^pvc://{_CLAIM_PATTERN}(/|$)')",
            "the claim after pvc:// must have lower-case letters, digits, '-' and '.'",
        ),
        _rule("!self.matches('/[.][.](/|$)')", "must not hold a '..' segment"),
    ]


def _validations(*rules: dict[str, str]) -> dict[str, Any]:
    return {"x-kubernetes-validations": list(rules)}


_ONE_FOLDER = _rule("!self.matches('[*?]')", "must name one folder, without '*' or '?'")

SourceUri = Annotated[
    str,
    Field(min_length=1, max_length=1024, json_schema_extra=_validations(*_absolute(SCHEMES))),
    AfterValidator(check_uri),
]
TargetUri = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=_validations(*_absolute(WRITABLE_SCHEMES), _ONE_FOLDER),
    ),
    AfterValidator(check_target),
]
