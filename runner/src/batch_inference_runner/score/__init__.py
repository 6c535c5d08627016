"""The scorer: a child process that reads, transforms, scores and stages shards, and may be killed.

    process.py      the message loop
    messages.py     what driver and scorer say to each other
    preparation.py  inspects the input, loads the model, compiles SQL -> Stages
    stages.py       what happens to rows, in order; errors become rejects
    rejects.py      where a row is rejected
    shard_task.py   one attempt at one shard: slices out, results in order, files staged
    work_pool.py    threads that share one model session

Everything foreign (footers, data, models, SQL) is parsed here and nowhere else. Nothing in here
decides which shard is scored, retried or committed.
"""
