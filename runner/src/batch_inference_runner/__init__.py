"""Scores a dataset with a model, exactly once.

    cli         the `bij` command: manifest -> RunnerConfig, display, exit codes
    supervise   process 1 of a pod: keeps a driver or a worker running
    schedule    the driver: hands shard ranges to scorers, retries, deadlines, back-pressure
    progress    counters, `/progress`, `/metrics`, the final report
    score       the scorer, a child process: read -> preprocess -> infer -> postprocess -> write
    commit      the commit protocol: claim, marker, publish, manifest
    models      ONNX models: loading, binding to columns, calling, isolating rows that crash
    transforms  SQL expressions and filters over rows
    formats     Parquet, CSV, JSON Lines, Arrow IPC: reading with positions, writing
    plan        which files are read, and which rows belong to which shard; immutable once made
    storage     folders and object stores behind one interface
    rows, nested_types, errors, logs, redaction, quota, parent_death, descendants, lean_imports,
    lean_pydantic: values and services that everybody uses

A package imports only those below it, and models, transforms and formats not one another, but for
names of types. The driver never parses what users supply (data, models, SQL): that happens in
scorers, which may be killed at any moment.
"""
