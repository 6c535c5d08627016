"""Parquet, Arrow IPC, JSON Lines and CSV: inspecting, reading with positions, and writing.

    inspection  what the files hold: one schema, and the units that shards are cut from
    reading     a shard's rows as chunks of at most 131,072, in order, with their positions
    writing     a shard's results as files

Everything here but `writing` parses foreign bytes, so it runs in a scorer, which may be killed.
A failed fetch (`VersionChanged`, `StoreError`) always keeps its own type: it is never mistaken for
a corrupt file, and never becomes a rejected row.
"""
