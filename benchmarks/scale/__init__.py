"""Campaigns of 30,000 configurations: overhead per label, memory, time of what is done with all of them at once."""
