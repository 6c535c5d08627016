"""The manifests of a run, as fresh plain dicts, and the config that its pods obey.

    job              one Indexed Job, whose pods are the run; pod: their template
    companions       service, secret, network_policy: what the pods need beside the Job
    runner_config    the spec as a runner understands it, mounted from the run's Secret
    allowed          what this cluster does not allow, found before anything is created
    claims, volumes, resources, layout, ownership, plain: the parts that these share

Nothing in here does I/O, reads a clock, draws a random number or logs. Two calls with the same
arguments give equal values that share no mutable part: whoever changes one changes no other.
"""
