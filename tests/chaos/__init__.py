"""The campaign of faults: what a run, a photo or a machine may suffer without anything lost."""
