"""What kubectl makes of values in YAML: text -> value, as a server then reads the JSON.

A unit test compares `bij` with it, a test on the cluster compares it with kubectl.
"""

from __future__ import annotations

from typing import Any

_TRUE = ("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE")
_FALSE = ("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE")
_NULL = ("", "~", "null", "Null", "NULL")
_TEXT = (
    *("yES", "tRUE", "nULL", "nan", "NaN", "inf", ".iNF", ".nAN", "=", "country = 'DE'"),
    *("1e", "1e400", "0o8", "0b2", "0x", "_1", "._5", "+", ".", "1.2.3", "1,000", "12:30", "1d"),
    *("0xFFFFFFFFFFFFFFFFF", "-0xFFFFFFFFFFFFFFFF", "0b" + "1" * 65, "9" * 5000),
    *("2026-08-01", "2026-08-01T00:00:00Z", "2026-08-01 10:00:00", "190:20:30"),
)
_WHOLE = {
    "0": 0, "-17": -17, "+1": 1, "-0": 0, "1_000": 1000, "1__0": 10, "1_": 1,
    "00": 0, "010": 8, "+010": 8, "0755": 493, "0o755": 493, "0O10": 8, "-0o7": -7, "0_1": 1,
    "0x1F": 31, "0X1f": 31, "-0x10": -16, "0x_1": 1, "0b11": 3, "0B11": 3, "+0b1": 1,
    "0x" + "0" * 20 + "1": 1, "0x7FFFFFFFFFFFFFFF": 2**63 - 1,
    "9223372036854775807": 2**63 - 1, "-9223372036854775808": -(2**63),
}  # fmt: skip
_WHOLE_IN_JSON = {
    "1.0": 1, "3600.0": 3600, "1e3": 1000, "1E3": 1000, "1e+06": 1000000, "1.5e3": 1500,
    "5.": 5, "-0.0": 0, "0e0": 0, "08": 8, "1_0.5e1": 105, "1e18": 10**18,
}  # fmt: skip
"""Decimals, of which a server makes whole numbers; Helm writes some so."""
_DECIMAL = {
    ".5": 0.5, "-.5": -0.5, "+.5": 0.5, "1_000.5": 1000.5, "1._5": 1.5, "1e-3": 0.001,
    "9223372036854775808": 2.0**63, "0xFFFFFFFFFFFFFFFF": float(2**64 - 1), "1e22": 1e22,
    "9" * 40: float("9" * 40), "0" + "7" * 25: float("7" * 25),
}  # fmt: skip
"""And whole numbers of more than 64 bits."""
_QUOTED_OR_TAGGED = {
    '"yes"': "yes", "'5'": "5", '"\\u00e9"': "é", "! 1": "1", "! yes": "yes",
    "!!str 1": "1", "!!str yes": "yes", '!!int "3"': 3, "!!float 3": 3, '!!bool "yes"': True,
    "!!null ~": None, '!!float "1.5"': 1.5, "!!float .5": 0.5,
}  # fmt: skip

READINGS: dict[str, Any] = {
    **dict.fromkeys(_TRUE, True),
    **dict.fromkeys(_FALSE, False),
    **dict.fromkeys(_NULL),
    **{text: text for text in _TEXT},
    **_WHOLE,
    **_WHOLE_IN_JSON,
    **_DECIMAL,
    **_QUOTED_OR_TAGGED,
}
REFUSED = (".inf", "+.Inf", "-.INF", ".nan", ".NaN", "!!int x", "!!int 1.5", "!!bool 1", "!!null x")

KEYS = {
    "on": "true", "Y": "true", "off": "false", "n": "false", "true": "true",
    "1": "1", "0x10": "16", "010": "8", "-1_0": "-10", "2026-01-01": "2026-01-01",
    "a b": "a b", '"on"': "on", "! on": "on",
}  # fmt: skip
"""Keys as they are written, and the text that they become."""
REFUSED_KEYS = ("~", "null", "[a]")
