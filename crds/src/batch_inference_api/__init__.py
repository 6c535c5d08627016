"""The BatchInferenceJob API: resource models, the CRD made from them, and the runner contract.

    v1alpha1            the resource: what users write, and the status that they read
    resolve             a job and where its parts lie -> the RunnerConfig
    runner_contract     what the operator tells a runner, and what a runner answers
    pod_contract        which ports and exit codes of a run's pods the operator relies on
    choices             the closed sets of values, and limits that several readers keep
    reasons             every reason for a job's state; problems: what is wrong with a manifest
    logs, redaction     log lines of one form, without credentials
    standard_streams    a stdout and a stderr that never fail
    crd                 writes the CRD and the references: structural_schema, api_reference,
                        reasons_reference; camel_case: names on the wire

The operator and the runner depend on this package, and not on each other.
"""
