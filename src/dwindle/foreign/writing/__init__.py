"""Plans written as source: what the peers share, and for each a writer and its guesses at the peer's own schedules."""
