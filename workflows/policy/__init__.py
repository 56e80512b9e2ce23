"""Rules that decide, as pure functions: what to label next or again, when to retrain, to promote, to stop."""
