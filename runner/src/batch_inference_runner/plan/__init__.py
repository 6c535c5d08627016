"""Which rows belong to which shard. A plan is made once per output and never changes."""
