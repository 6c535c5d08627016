"""Says how far a run is: counters, `/progress` and `/metrics`, and the final report.

    counters       what a run has done; rate, index_ranges and failures put it in few
                   words
    report         the final report: small, and written where a kubelet finds it
    bare_report    one that says whose run it is, when nobody knows more
    server         serves a run while it lasts; http_endpoint answers, hardened
    metrics        a report for Prometheus

Counts leave the process, never a path of the dataset or a row. Nothing in here may fail a run.
"""
