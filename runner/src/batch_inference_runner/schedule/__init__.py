"""The driver: which scorer works on which shard, and what happens when one is lost.

    launch          the first moments: a scorer begins to prepare
    run_thread      the thread that all of it runs on, and how long the main one waits for it
    driver          the run from opening the output to the manifest
    planning        the plan: the driver lists, a scorer inspects, the driver cuts
    dispatch        the loop: assignments out, events in
    backlog         PURE: which shards come next, how many, and after which losses
    rebalance       idle scorers get what the busiest one has not begun
    outage          PURE: how long a failing store is put up with
    deadline        PURE: how long a run may take
    error_policy    PURE: how many rejected rows and failed shards are too many
    capacity        PURE: how many scorers, threads and bytes there are
    slot            a place where a scorer runs, whichever is the present one
    scorer_process  a scorer as a child process
    committer       the thread that commits what was staged, in groups
    attempts        records of what was started, so that budgets survive a lost driver
    worker          what a runner pod beyond the first does
    ray_nodes       scorers on other nodes, as the driver sees them
    ray_bridge      the process between driver and Ray, the only module that imports ray;
                    ray_wire is what the two say to each other
    ray_processes   `ray start` with everything pinned down; ray_keeper ends what it starts

Nothing in here opens data, models or SQL.
"""
