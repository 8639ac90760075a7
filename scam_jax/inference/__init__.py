"""Use of a trained model: photos and label maps, reconstruction, transfer, attention maps."""
