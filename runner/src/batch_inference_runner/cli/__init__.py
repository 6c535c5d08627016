"""The `bij` command: manifest -> RunnerConfig, display, exit codes.

    arguments      what can be typed
    run, validate, schema, outputs (`verify`, `gc`), pods (`driver`, `worker`): the commands
    manifest       a file -> RunnerConfig; manifest_yaml and yaml_scalars read it,
                   manifest_overrides is `--set`
    execution      a run with its display, its server and its signals
    local_workers  `--workers N`
    interrupts     SIGINT and SIGTERM
    heartbeats     signs of life, for the supervisor of a pod
    display, summary, wording, json_document: what is said while it runs and at its end
    failures       what a failure is called, and its exit code

Nothing here decides how rows are scored. Modules are imported when their command needs them: the
scorer must be forked before this process spends time on its own imports.
"""
