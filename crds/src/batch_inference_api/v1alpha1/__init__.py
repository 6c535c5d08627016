"""Version v1alpha1 of the BatchInferenceJob resource, one part of it per module.

    job             the whole, and rules about several parts of it at once
    model, input, processing, output, error_policy, execution: what is scored, and how
    workers         the pods; environment, placement: what they get, and where they run
    status          what the operator says of a job
    resource        what all parts have in common; names, quantity, uri: types of single fields

The sentence under each field is the user's documentation: it becomes the description in the CRD
and the row in the API reference. Nothing in here does I/O, and parsing a job imports no status.

Modules that define models go without `from __future__ import annotations`: pydantic would compile
each annotation from its text, 6 ms in each process that reads a job.
"""
