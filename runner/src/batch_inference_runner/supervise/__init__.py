"""`bij pod`: process 1 of a run's pods, which starts the driver or a worker and stays above it.

    start       spawns the child before anything else is imported: the first row waits for it
    supervisor  the loop: signals, ends, signs of life
    decision    PURE: what follows from the end of the child
    children    the child as the supervisor sees it
    heartbeat   what a child tells the supervisor: that it lives, and how far it is
    silence     how long it has told nothing
    liveness    answers the kubelet, so that a supervisor that hangs is replaced with its pod
    last_words  the report that is left when the supervisor gives up

The supervisor outlives whatever its child does, so nothing foreign may happen here: no input, no
model, no store, no Ray, no thread. Whatever a lost child has left is repaired by the next one, from
what is committed.
"""
