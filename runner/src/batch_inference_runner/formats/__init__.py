"""Parquet, Arrow IPC, JSON Lines and CSV: inspecting, reading with positions, and writing.

    inspection   what the files hold: one schema, and the units that shards are cut from
                 schemas makes one of many, partitions reads `key=value` folders, text_inspection
                 infers the types of text (json_types) and cuts it at the byte_ranges of whole
                 rows; text_refusals and unreadable_files say what files are instead
    reading      a shard's rows as chunks of at most 131,072, in order, with their positions
                 parquet_files, arrow_files, json_lines and csv_files each read one format; columns
                 picks what was asked for and gives it the planned type (tensors: as nested lists)
    writing      a shard's results as files
                 writable says which columns a format can hold, row_checks which values (moments:
                 dates in text), file_writers encodes, output_partitions chooses folders,
                 file_names names, json_text writes JSON

Below the readers: foreign_file is a pinned object as pyarrow reads it, read_ahead fetches in the
background, text_blocks splits text into whole rows (compressed_text, byte_places, utf8, csv_rows),
arrow_headers counts the rows of Arrow files, csv_first_row names the columns of a CSV file,
csv_values and json_values are the authority on single values, valid_text on that of the others,
bisected finds the bad ones, and unreadable gives rows that are lost together.

What reads parses foreign bytes, so it runs in a scorer, which may be killed. A failed fetch
(`VersionChanged`, `StoreError`) always keeps its own type: it is never mistaken for a corrupt file,
and never becomes a rejected row.
"""
