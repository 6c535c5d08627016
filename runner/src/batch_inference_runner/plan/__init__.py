"""What is read, and cut how. A plan is made once per output and never changes.

    inputs     which files the dataset consists of
    shards     where shards are cut
    plan       the values of a plan
    document   a plan's identity, and `plan.json`

The driver plans, so nothing in here opens a file of the dataset: what files hold comes in.
"""
