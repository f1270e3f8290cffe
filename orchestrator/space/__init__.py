"""Reading a search space: the file, its axes and budgets, and every mistake with its place."""
