"""The driver: which scorer works on which shard, and what happens when one is lost.

    driver.py          the run from opening the output to the manifest
    dispatch.py        the loop: assignments out, events in
    backlog.py         PURE: which shards come next, how many, and after which losses
    committer.py       the thread that commits what was staged, in groups
    attempts.py        records of what was started, so that budgets survive a lost driver
    scorer_process.py  a scorer as a child process
    ray_nodes.py       scorers on other nodes; the only module that imports ray
    worker.py          what a runner pod beyond the first does

Nothing in here opens data, models or SQL.
"""
