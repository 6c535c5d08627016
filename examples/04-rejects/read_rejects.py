"""Print the reject dataset: a plain folder of Parquet files beside the output."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

for file in sorted((Path(__file__).parent / "output" / "_rejects").glob("*.parquet")):
    for reject in pq.read_table(file).to_pylist():
        print("  ".join(f"{name}={value}" for name, value in reject.items() if value is not None))
