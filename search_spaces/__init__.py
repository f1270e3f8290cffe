"""Search spaces that come with Engram, each a YAML file that is found by its name."""
