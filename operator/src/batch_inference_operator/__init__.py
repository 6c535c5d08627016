"""Runs BatchInferenceJobs on Kubernetes.

    handlers        what kopf calls when something changed
    feed, cache     a change is remembered, and its job is queued; keys: how jobs are named
    resync          everything is listed now and then, whatever was or was not watched
    work_queue      keys to reconcile: deduplicated, one at a time per key, with back-off; workers
    reconcile       observe -> plan_next -> carry_out: the page to read first
    observe         the children and the last progress report -> observation; raw_objects: pure,
                    what the API server sends -> typed values
    decide          pure: what should happen next, and what the status says
    build           pure: the manifests of a run, one file per kind
    carry_out       a plan -> API calls; the status last, events after it; refused_plans: what the
                    server has refused is asked for again after growing pauses
    progress_poll   asks a run's first pod how far it is
    cluster         the only importer of the kubernetes client
    leadership      one of several operators works at a time, for economy
    runtime         wires all of this, and ends it as a whole; command: settings in, exit code out
    health, metrics, logs, settings, names: what a platform team sees and sets; durations: `1h30m`
    kubectl_bij     the plugin for kubectl, a process of its own

kopf delivers changes and nothing else: no finalizer, no annotation and no event of its own ever
reaches a user's object. Behaviour depends on what is there, not on which change arrived, so a
crash at any point, and a second operator at work, end in the same state.
"""
