"""Runs: the run folder with its config and record, checks of a config, and studies."""
