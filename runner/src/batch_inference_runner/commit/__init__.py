"""The commit protocol: exactly once, on stores without rename, with zombies about.

    layout     the names of everything below an output location
    probe      is the store safe at all?
    claim      whose output this is
    opening    claim, adopt or make the plan; or refuse
    appending  may rows be added to the result that is there?
    staged     what an attempt at a shard has left in staging
    marker     THE commit point
    exclusive  writes of which exactly one may win
    publish    staged objects get their final names
    finalize   sums, manifest, `_SUCCESS`
    manifest   what `_SUCCESS` says
    foreign    which visible files nobody accounts for
    damage     are the files that a manifest lists there?
    output     the face of all this towards the driver
    outcome    what a store's refusal means for the run
    verify     is an output what its manifest says? row_count counts as somebody else would
    garbage    what may be deleted
    parallel   one store operation for many keys

A driver may be killed between any two writes, any write may take effect although its caller was
told otherwise, and a driver or scorer that everybody believes dead may wake up at any time and go
on. Nothing in here trusts a clock, a lock or a listing.
"""
