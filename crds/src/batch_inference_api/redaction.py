"""Takes credentials out of text that people will see, by what they look like. Pure.

URIs that users write may carry passwords and signatures, and the messages of servers and libraries
repeat what they were sent. The runner masks the very values that it was given as well.
"""

from __future__ import annotations

import re
from functools import cache

MASK = "***"

_QUERY_NAMES = (
    r"x-amz-[a-z-]+|x-goog-[a-z-]+|awsaccesskeyid|googleaccessid|signature|sig|sv|se|sp|sr|skoid"
    r"|(?:access_|id_|refresh_)?token|auth|(?:api_?)?key|(?:client_)?secret|password|passwd|pwd"
    r"|credentials?"
)
_SETTING_NAMES = (
    r"aws_access_key_id|aws_secret_access_key|aws_session_token|access_?key(?:_?id)?"
    r"|secret_?access_?key|secret_?key|session_?token|account_?key|sas_?token|api_?key"
    r"|client_?secret|private_?key|password|passwd|token|secret"
)


@cache
def _rules() -> tuple[tuple[re.Pattern[str], str], ...]:
    # Compiled when the first text comes: 3 ms in which a run could begin.
    return (
        # scheme://user:password@host, whatever stands before the last @ of the authority
        (re.compile(r"\b([a-z][a-z0-9+.-]*://)[^/\s?#'\"<>]*@", re.IGNORECASE), rf"\1{MASK}@"),
        # ?X-Amz-Signature=..., &sig=...
        (re.compile(rf"([?&;](?:{_QUERY_NAMES})=)[^&;\s'\"<>#)]*", re.IGNORECASE), rf"\1{MASK}"),
        # Authorization: Bearer ..., also as a header in the text of a dict
        (
            re.compile(
                r"(\b(?:proxy-)?authorization\b['\"]?\s*[:=]\s*['\"]?)"
                r"(?:(?:bearer|basic|digest|negotiate|aws4-hmac-sha256)\s+)?[^\r\n'\"]+",
                re.IGNORECASE,
            ),
            rf"\1{MASK}",
        ),
        (re.compile(r"\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
        # name=value and 'name': 'value' of the usual credentials, but not a refusal of a field of
        # that name, `spec.workers.volumes[0].secret: must be a mapping`
        (
            re.compile(
                rf"(\b(?:{_SETTING_NAMES})['\"]?\s*[:=]\s*['\"]?)(?!must )[^\s'\",;&}})]+",
                re.IGNORECASE,
            ),
            rf"\1{MASK}",
        ),
        (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA)[A-Z0-9]{12,}\b"), MASK),
        (re.compile(r"\bhf_[A-Za-z0-9]{20,}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b"), MASK),
        # JSON Web Tokens, such as those of service accounts
        (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), MASK),
        (
            re.compile(
                r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
                re.DOTALL,
            ),
            MASK,
        ),
    )


def redact(text: str) -> str:
    """Replace credentials in `text` by `***`; everything else stays as it is."""
    for pattern, replacement in _rules():
        text = pattern.sub(replacement, text)
    return text
