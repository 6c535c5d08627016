"""Says how far a run is: counters, `/progress` and `/metrics`, and the final report.

Counts leave the process, never a path of the dataset or a row. Nothing in here may fail a run.
"""
