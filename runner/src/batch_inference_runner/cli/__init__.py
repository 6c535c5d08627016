"""The `bij` command: manifest -> RunnerConfig, display, exit codes.

Nothing here decides how rows are scored. Modules are imported when their command needs them: the
scorer must be spawned before this process spends time on its own imports.
"""
