"""The commands of main.py, one file per command."""
