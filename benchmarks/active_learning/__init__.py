"""Selection rules against random and farthest-point: labels that a model needs for equal errors."""
