"""The command that checks a folder of photos and label maps before training."""
