"""Which checkpoints of a folder are whole, as Orbax tells, without its import."""

from etils import epath

from scam_jax import buckets

# Orbax renames a checkpoint when it is whole. In a bucket it adds this object instead.
_MARK = "commit_success.txt"


def committed_steps(directory: epath.Path) -> list[int]:
    """Returns the steps of all whole checkpoints in a folder, damaged or not, the newest first.

    Args:
      directory: the folder; it need not exist.
    """
    is_in_bucket = buckets.is_in_bucket(directory)
    try:
        found = [entry for entry in buckets.path(directory).iterdir() if entry.name.isdigit()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    whole = [e for e in found if not is_in_bucket or (e / _MARK).exists()]
    return sorted((int(entry.name) for entry in whole), reverse=True)
