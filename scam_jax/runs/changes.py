"""What may change when a run goes on with another config.

The weights depend on some values, which stay as they are. Others change what training does from
now on, and need --accept_changes. The rest may change freely.
"""

from typing import Any

from absl import logging
from etils import epath
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from scam_jax import buckets
from scam_jax.runs import run_folder

# A change from one value to another.
Change = tuple[Any, Any]
# The name of a change of data.
TRAINING_DATA = "training data"

# The weights depend on these keys and all keys below them, except `_COMPUTE_TYPES`.
_FIXED = (
    "seed",
    "data.height",
    "data.width",
    "data.num_labels",
    "data.label_map",
    "data.colors",
    "data.ignore_label",
    "model",
    "parser.features",
)
_COMPUTE_TYPES = "dtype"
# Training depends on these, from the step on where they change.
_ACCEPTED = (
    *("data", "model", "losses", "optimizer", "train.batch_size", "train.ema_decay"),
    "parser",
)
# These say where things are and how they are read. `skip_bad_files` is what the error of a bad file
# advises.
_FREE = ("data.directory", "data.manual_dir", "data.num_workers", "data.skip_bad_files")
# Free keys whose changes are recorded nevertheless.
_RECORDED = ("train.num_steps", "data.directory", "data.skip_bad_files")


def matters(key: str) -> bool:
    """Returns whether a run with another value of a key is another model, or of other data."""
    is_kept = _is_below(key, (*_FIXED, *_ACCEPTED)) and key not in _FREE
    return is_kept or key in _RECORDED


def check_weights_fit(config: ConfigDict, workdir: epath.Path) -> None:
    """Checks that a config describes the weights in `workdir`, if there are any.

    Raises:
      ValueError: a value that the weights depend on differs from the run's; names the first one.
    """
    for key, (old, new) in _changes(config, workdir).items():
        if _is_below(key, _FIXED) and not key.endswith(_COMPUTE_TYPES):
            raise ValueError(
                f"config.{key} = {new!r}, but the weights of the run in {workdir} were trained "
                f"with {old!r}: go on with the same value, or start another run with --workdir"
            )


def check_changes(config: ConfigDict, workdir: epath.Path, are_accepted: bool) -> dict[str, Change]:
    """Checks that a run may go on with a config.

    Args:
      config: the whole config.
      workdir: the run's folder.
      are_accepted: whether the user accepts changes of what training does.

    Returns:
      The changes to record, (before, now) by dotted key; empty without weights.

    Raises:
      ValueError: see `check_weights_fit`; or changes that are not accepted, names all of them.
    """
    check_weights_fit(config, workdir)
    changes = _changes(config, workdir)
    accepted: tuple[str, ...] = _ACCEPTED
    # The rates depend on the last step.
    if "optimizer" in config and config.optimizer.decay != "constant":
        accepted += ("train.num_steps",)
    needing = {
        key: change
        for key, change in changes.items()
        if _is_below(key, accepted) and key not in _FREE
    }
    if needing and not are_accepted:
        listed = ", ".join(
            f"config.{key} from {old!r} to {new!r}" for key, (old, new) in needing.items()
        )
        raise ValueError(
            f"the run in {workdir} would go on with changes: {listed}. Add --accept_changes to go "
            "on like this, leave them out, or start another run with --workdir"
        )
    return {key: change for key, change in changes.items() if key in needing or key in _RECORDED}


def check_data(training_data: str, workdir: epath.Path, are_accepted: bool) -> dict[str, Change]:
    """Checks that a run goes on with the training data that it has been trained with.

    Args:
      training_data: a digest of the training data.
      workdir: the run's folder.
      are_accepted: whether the user accepts other data.

    Returns:
      The change to record, empty if there is none.

    Raises:
      ValueError: the data differ and this is not accepted, or runs.jsonl is damaged.
    """
    before = run_folder.last_start(workdir).get("training_data", "")
    if not run_folder.is_begun(workdir) or before in ("", training_data):
        return {}
    if not are_accepted:
        raise ValueError(
            "the training photos, label maps or names of labels are not those that the run in "
            f"{workdir} was trained with: give config.data.directory of those, add "
            "--accept_changes to go on with others, or start another run with --workdir"
        )
    logging.warning(
        "the training photos changed. Without validation photos of their own, others are held out "
        "from now on, and the model has seen some of them: figures of validation may flatter"
    )
    return {TRAINING_DATA: (before, training_data)}


def _changes(config: ConfigDict, workdir: epath.Path) -> dict[str, Change]:
    """Returns all differences from the config that the run was last trained with."""
    if not (run_folder.is_begun(workdir) or run_folder.is_released(workdir)):
        return {}
    if not (workdir / run_folder.CONFIG_FILE).is_file():
        logging.warning("%s has no config: it is taken to be the same as before", workdir)
        return {}
    configs = run_folder.load_config(workdir), config
    before, now = (flatten_dict(c.to_dict(), sep=".") for c in configs)
    if "model" in config:  # The run of a parser has no model, and only its weights depend on this.
        before, now = (
            {key: value for key, value in values.items() if not _is_below(key, ("parser",))}
            for values in (before, now)
        )
    return {
        key: (before.get(key), now.get(key))
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not _is_same_list(key, before, now)
    }


def _is_same_list(key: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Returns whether the list of label colours is the same, in the run's copy or elsewhere."""
    if key != "data.colors" or not (before.get(key) and now.get(key)):
        return False
    texts = [buckets.path(config[key]).read_bytes() for config in (before, now)]
    return texts[0] == texts[1]


def _is_below(key: str, parents: tuple[str, ...]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)
