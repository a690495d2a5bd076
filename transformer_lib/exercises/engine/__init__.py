"""The checker: what an exercise is, how an answer is run and judged, and what is said of it."""
