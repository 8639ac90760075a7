"""What is read of a checkpoint: all of it to train, encoder and generator alone to use a model."""

import errno

import jax
import pytest
from helpers import small
from helpers.closeness import assert_trees_close

from scam_jax import TrainedModel, models
from scam_jax.runs import run_folder
from scam_jax.training import state
from scam_jax.training.checkpoints import CheckpointError, Checkpoints


@pytest.fixture(scope="module", params=[0.9, 0.0], ids=["average", "no average"])
def saved(request, tmp_path_factory):
    """A run's folder and its first state, with averaged parameters or without."""
    config = small.shallow(train__ema_decay=request.param)
    folder = tmp_path_factory.mktemp("run")
    run_folder.record(config, folder)
    first = state.create(config, models.build(config))
    if first.ema is not None:
        first = first.replace(ema=jax.tree.map(lambda x: x + 1, first.ema))
    checkpoints = Checkpoints(folder / run_folder.CHECKPOINTS)
    checkpoints.save(first)
    checkpoints.close()
    return folder, first


def test_a_checkpoint_is_restored_whole(saved):
    folder, first = saved
    shapes = jax.eval_shape(lambda: first)
    restored = Checkpoints(folder / run_folder.CHECKPOINTS).restore(lambda _: shapes)
    assert_trees_close(restored, first)


def test_a_trained_model_reads_encoder_and_generator_alone(saved):
    folder, first = saved
    shapes = jax.eval_shape(lambda: first)
    restored = Checkpoints(folder / run_folder.CHECKPOINTS).restore_trained(lambda _: shapes)
    unread = [restored.opt_state, restored.params["discriminator"]]
    if first.ema is not None:
        unread.append(restored.params)
    assert all(leaf is ... for leaf in jax.tree.leaves(unread))
    model = TrainedModel.load(str(folder))
    assert_trees_close(model.variables, first.eval_variables())


def test_a_checkpoint_of_other_sizes_is_refused(saved):
    folder, _ = saved
    config = run_folder.load_config(folder)
    config.model.latent_dim = 32
    shapes = state.shapes_of(config, models.build(config))
    for restore in ("restore", "restore_trained"):
        checkpoints = Checkpoints(folder / run_folder.CHECKPOINTS)
        with pytest.raises(CheckpointError, match=r"no checkpoint can be read.*config that"):
            getattr(checkpoints, restore)(shapes)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("the bucket is away"),
        OSError(errno.EMFILE, "Too many open files"),
        ValueError("UNAVAILABLE: the service is away"),
    ],
)
def test_an_error_of_the_system_is_no_damage(saved, monkeypatch, error):
    folder, first = saved
    checkpoints = Checkpoints(folder / run_folder.CHECKPOINTS)

    def fail(*_):
        raise error

    monkeypatch.setattr(checkpoints, "_metadata", fail)
    shapes = jax.eval_shape(lambda: first)
    for read in (
        lambda: checkpoints.resume(lambda _: shapes, None),
        lambda: checkpoints.figures(0),
    ):
        with pytest.raises(type(error), match=str(error.args[-1])):
            read()
    assert checkpoints.steps() == [0], "nothing was set aside"


def test_the_checkpoint_that_is_asked_for_is_loaded(tmp_path):
    config = small.shallow()
    run_folder.record(config, tmp_path)
    first = state.create(config, models.build(config))
    for name, steps in ((run_folder.CHECKPOINTS, (6, 8)), (run_folder.BEST, (4,))):
        checkpoints = Checkpoints(tmp_path / name)
        for step in steps:
            checkpoints.save(first.replace(step=jax.numpy.int32(step)))
        checkpoints.close()
    found = {chosen: TrainedModel.load(tmp_path, chosen).step for chosen in ("newest", "best", 6)}
    assert found == {"newest": 8, "best": 4, 6: 6}
