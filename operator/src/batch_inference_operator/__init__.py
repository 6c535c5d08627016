"""Runs BatchInferenceJobs on Kubernetes.

    handlers     what kopf calls: a change arrives, a key is enqueued
    cache        the last known state of jobs, run Jobs and pods, fed by handlers and resyncs
    work_queue   keys to reconcile: deduplicated, one at a time per key, with back-off
    reconcile    observe -> plan_next -> carry_out: the page to read first
    observe      the children and the last progress report -> Observation
    decide       pure: what should happen next, and what the status says
    build        pure: the manifests of a run, one file per kind
    carry_out    a plan -> API calls; the status last, events after it
    progress     asks a run's first pod how far it is
    cluster      the only importer of the kubernetes client
    leadership   one of several operators works at a time, for economy
    health, metrics, logs, settings, names: what a platform team sees and sets

kopf delivers changes and nothing else: no finalizer, no annotation and no event of its own ever
reaches a user's object. Behaviour depends on what is there, not on which change arrived, so a
crash at any point, and a second operator at work, end in the same state.
"""
