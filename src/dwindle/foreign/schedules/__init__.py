"""The schedules of each peer, read as plans: one module a peer."""
