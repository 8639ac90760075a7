"""What each command of main.py does: one file a command."""
