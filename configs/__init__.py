"""Configs: one file per experiment. common.py has every key and its published value."""
