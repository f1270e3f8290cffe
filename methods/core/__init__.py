"""The contract every method follows, and the parts that most methods share."""
