"""The replay audit: what a generator gives back of past tasks, compared with real data."""
