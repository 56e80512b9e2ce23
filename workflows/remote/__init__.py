"""Campaigns on clusters, through jobflow-remote."""
