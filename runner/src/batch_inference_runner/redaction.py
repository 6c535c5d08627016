"""Takes secrets out of text that people will see: logs, messages, reports."""

from __future__ import annotations

import re
import threading

MASK = "***"
_MIN_SECRET_LENGTH = 6
"""Shorter values would mask ordinary words."""

_QUERY_NAMES = (
    r"x-amz-[a-z-]+|x-goog-[a-z-]+|awsaccesskeyid|googleaccessid|signature|sig|sv|se|sp|sr|skoid"
    r"|token|access_token|id_token|refresh_token|auth|key|api_?key|secret|client_secret|password"
    r"|passwd|pwd|credential|credentials"
)
_SETTING_NAMES = (
    r"aws_access_key_id|aws_secret_access_key|aws_session_token|access_?key(?:_?id)?"
    r"|secret_?access_?key|secret_?key|session_?token|account_?key|sas_?token|api_?key"
    r"|client_?secret|private_?key|password|passwd|token|secret"
)

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host, whatever stands before the last @ of the authority
    (re.compile(r"\b([a-z][a-z0-9+.-]*://)[^/\s?#'\"<>]*@", re.IGNORECASE), rf"\1{MASK}@"),
    # ?X-Amz-Signature=..., &sig=...
    (
        re.compile(rf"([?&;](?:{_QUERY_NAMES})=)[^&;\s'\"<>#)]*", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    # Authorization: Bearer ..., also as a header in a dict's repr
    (
        re.compile(
            r"(\b(?:proxy-)?authorization\b['\"]?\s*[:=]\s*['\"]?)"
            r"(?:(?:bearer|basic|digest|negotiate|aws4-hmac-sha256)\s+)?[^\r\n'\"]+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    # name=value and 'name': 'value' of the usual credentials
    (
        re.compile(
            rf"(\b(?:{_SETTING_NAMES})['\"]?\s*[:=]\s*['\"]?)[^\s'\",;&}})]+", re.IGNORECASE
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA)[A-Z0-9]{12,}\b"), MASK),
    (re.compile(r"\bhf_[A-Za-z0-9]{20,}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b"), MASK),
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        MASK,
    ),
)

_secrets: frozenset[str] = frozenset()
_known: re.Pattern[str] | None = None
_lock = threading.Lock()


def register_secret(value: str) -> None:
    """Mask `value` wherever it appears from now on; very short values are not registered."""
    global _secrets, _known  # noqa: PLW0603 - one process has one set of secrets
    value = value.strip()
    if len(value) < _MIN_SECRET_LENGTH:
        return
    with _lock:
        _secrets |= {value}
        longest_first = sorted(_secrets, key=len, reverse=True)
        _known = re.compile("|".join(re.escape(secret) for secret in longest_first))


def redact(text: str) -> str:
    """Replace credentials in `text` by `***`; everything else stays as it is."""
    known = _known
    if known is not None:
        text = known.sub(MASK, text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
