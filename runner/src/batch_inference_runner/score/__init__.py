"""The scorer: a child process that reads, transforms, scores and stages shards, and may be killed.

    process       the message loop: dies with the driver, gives signs of life
    messages      what driver and scorer say to each other
    config_view   the job, read without pydantic
    scorer        what is done with each message
    preparation   inspects the input, loads the model, compiles SQL -> Stages
    first_rows    tries the model on the first rows, and keeps them for the first shard
    stages        what happens to rows, in order; errors become rejects
    rejects       where a row is rejected
    work_pool     threads that share one model session
    shard_task    one attempt at one shard: slices out, results in order, files staged
    computing     notices what computes on and on
    workspace     the private folder in which the model lies

Everything foreign (footers, data, models, SQL) is parsed in this process and nowhere else. Nothing
in here decides which shard is scored, retried or committed.
"""
