"""Reads credentials from a folder that holds one file per key."""

from __future__ import annotations

from pathlib import Path

from batch_inference_runner.redaction import register_secret
from batch_inference_runner.storage.store import AccessDenied

NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
)
_PUBLIC = frozenset(
    ("AWS_REGION", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT")
)


def read_credentials(folder: str) -> dict[str, str]:
    """Return the values of the known keys that the folder has; logs will mask them.

    Raises AccessDenied when the folder cannot be read or has none of them.
    """
    values: dict[str, str] = {}
    for name in NAMES:
        try:
            values[name] = Path(folder, name).read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise AccessDenied(f"the credential {name!r} in {folder!r} cannot be read") from error
        if name not in _PUBLIC:
            register_secret(values[name])
    if not values:
        raise AccessDenied(
            f"{folder!r} holds no credentials: expected one file per key, such as {NAMES[0]!r} and "
            f"{NAMES[1]!r}"
        )
    return values
