"""spec.errorPolicy: what happens to rows that cannot be scored."""

from typing import Annotated

from pydantic import Field

from batch_inference_api.choices import OnError
from batch_inference_api.v1alpha1.resource import ResourceModel, matching

_RATE_PATTERN = r"^(0(\.[0-9]{1,9})?|1(\.0{1,9})?)$"


class ErrorPolicySpec(ResourceModel):
    """What happens to rows that cannot be scored."""

    on_error: OnError = OnError.DEAD_LETTER
    """`DeadLetter` writes the row to the `_rejects` dataset and goes on, `Skip` counts it and goes
    on, `Fail` ends the job."""
    error_threshold: Annotated[int, Field(ge=-1, le=9_007_199_254_740_991)] = -1
    """The job fails when more rows than this were rejected; -1 is no limit."""
    max_error_rate: (
        Annotated[
            str,
            Field(max_length=11, json_schema_extra={"pattern": _RATE_PATTERN}),
            matching(_RATE_PATTERN, 'must be a decimal between 0 and 1 in quotes, such as "0.001"'),
        ]
        | None
    ) = None
    """The job fails when a larger share of the rows was rejected: a decimal between 0 and 1 such
    as `"0.001"`, judged after 10,000 rows and at the end."""
