"""Scores a dataset with a model, exactly once.

    cli         the `bij` command: manifest -> RunnerConfig, display, exit codes
    plan        which rows belong to which shard; immutable once made
    schedule    the driver: hands shard ranges to scorers, retries, deadlines, back-pressure
    score       the scorer, a child process: read -> preprocess -> infer -> postprocess -> write
    formats     Parquet, CSV, JSON Lines, Arrow IPC: reading with positions, writing
    transforms  SQL expressions and filters over rows
    models      ONNX models: loading, binding to columns, calling, isolating rows that crash
    storage     folders and object stores behind one interface
    commit      the commit protocol: claim, marker, publish, manifest
    progress    counters, `/progress`, `/metrics`, the final report

The driver never parses what users supply (data, models, SQL): that happens in scorers, which may be
killed at any moment.
"""
