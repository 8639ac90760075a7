"""A run goes on with another config or other data only as far as its weights allow, and if told."""

import json
import operator

import jax
import optax
import pytest
from helpers import saved, small
from helpers.closeness import assert_trees_close
from helpers.loop import mesh_of

from scam_jax import models
from scam_jax.inference.model import TrainedModel
from scam_jax.runs import changes, run_folder
from scam_jax.training import loop, optimizers, state
from scam_jax.training.checkpoints import Checkpoints


@pytest.fixture
def begun(tmp_path):
    """The folder of a run with weights."""
    run_folder.record(small.config(), tmp_path, training_data="faces")
    saved.save(tmp_path / run_folder.CHECKPOINTS, 2)
    return tmp_path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 7),
        ("data__num_labels", 4),
        ("data__height", 32),
        ("data__label_map", "0|1|*"),
        ("model__latent_dim", 32),
        ("model__encoder__num_blocks", 3),
    ],
)
def test_what_the_weights_depend_on_stays(begun, key, value):
    name = key.replace("__", r"\.")
    with pytest.raises(ValueError, match=rf"config\.{name} = .*weights of the run in .* with"):
        changes.check_changes(small.config(**{key: value}), begun, are_accepted=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer__generator_learning_rate", 1e-5),
        ("optimizer__warmup_steps", 3),
        ("optimizer__clip_norm", 1.0),
        ("losses__l1", 3.0),
        ("losses__perceptual_dtype", "bfloat16"),
        ("train__batch_size", 8),
        ("train__ema_decay", 0.5),
        ("model__dtype", "bfloat16"),
        ("model__generator__dtype", "float32"),
        ("data__augmentation", "basic"),
    ],
)
def test_what_training_depends_on_changes_if_accepted(begun, key, value):
    config, name = small.config(**{key: value}), key.replace("__", ".")
    before = operator.attrgetter(name)(small.config())
    with pytest.raises(ValueError, match=rf"config\.{name} from .* to .*Add --accept_changes"):
        changes.check_changes(config, begun, are_accepted=False)
    found = changes.check_changes(config, begun, are_accepted=True)
    assert found == {name: (before, value)}


def test_another_last_step_is_a_change_if_the_rates_depend_on_it(tmp_path):
    config = small.config(optimizer__decay="cosine")
    run_folder.record(config, tmp_path)
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    config.train.num_steps = 8
    with pytest.raises(ValueError, match=r"config\.train\.num_steps from 4 to 8.*Add --accept"):
        changes.check_changes(config, tmp_path, are_accepted=False)
    config.optimizer.decay = "constant"
    run_folder.record(small.config(), tmp_path)
    assert changes.check_changes(config, tmp_path, are_accepted=False)


def test_the_run_has_its_own_copy_of_the_colours(tmp_path):
    """It is used when the list is gone. The same list elsewhere is no change, another one is."""
    colors, run = tmp_path / "colors.txt", tmp_path / "run"
    colors.write_text("0 0 0\n255 0 0\n0 255 0\n")
    run_folder.record(small.config(data__colors=str(colors)), run)
    (run / "checkpoints" / "4").mkdir(parents=True)
    moved = colors.rename(tmp_path / "moved.txt")
    assert run_folder.load_config(run).data.colors == str(run / "label_colors.txt")
    changes.check_weights_fit(small.config(data__colors=str(moved)), run)
    moved.write_text("0 0 0\n255 0 0\n0 0 255\n")
    with pytest.raises(ValueError, match=r"config\.data\.colors = .*moved\.txt"):
        changes.check_weights_fit(small.config(data__colors=str(moved)), run)
    run_folder.record(small.config(), run)
    assert run_folder.load_config(run).data.colors == "", "started afresh with numbers"


def test_a_schedule_is_a_change(begun):
    config = small.config(schedules={"gan": {"start": 0.0, "steps": 4}})
    with pytest.raises(ValueError, match=r"config\.losses\.schedules\.gan\.start from None to 0"):
        changes.check_changes(config, begun, are_accepted=False)


@pytest.mark.parametrize(
    ("key", "value", "is_recorded"),
    [
        ("train__num_steps", 100, True),
        ("data__skip_bad_files", True, True),
        ("data__directory", "elsewhere", True),
        ("data__num_workers", 2, False),
        ("train__log_every", 7, False),
        ("eval__every", 3, False),
        ("weights_directory", "elsewhere", False),
    ],
)
def test_the_rest_changes_freely(begun, key, value, is_recorded):
    found = changes.check_changes(small.config(**{key: value}), begun, are_accepted=False)
    assert [*found] == [key.replace("__", ".")] * is_recorded


def test_a_run_without_weights_is_bound_to_nothing(tmp_path):
    run_folder.record(small.config(), tmp_path, training_data="faces")
    config = small.config(data__num_labels=4, losses__l1=1.0)
    assert changes.check_changes(config, tmp_path, are_accepted=False) == {}
    assert changes.check_data("others", tmp_path, are_accepted=False) == {}


def test_a_lost_config_is_taken_to_be_the_same(begun, caplog):
    (begun / run_folder.CONFIG_FILE).unlink()
    config = small.config(losses__l1=3.0)
    assert changes.check_changes(config, begun, are_accepted=False) == {}
    assert "has no config" in caplog.text


def test_other_photos_are_noticed(begun):
    assert changes.check_data("faces", begun, are_accepted=False) == {}
    with pytest.raises(ValueError, match=r"not those that the run in .*--accept_changes"):
        changes.check_data("others", begun, are_accepted=False)
    found = changes.check_data("others", begun, are_accepted=True)
    assert found == {"training data": ("faces", "others")}


def test_the_record_says_from_which_step_on_what_held(begun):
    config = small.config(losses__l1=3.0)
    found = changes.check_changes(config, begun, are_accepted=True)
    run_folder.record(config, begun, step=2, training_data="faces", changes=found)
    lines = (begun / run_folder.RUNS_FILE).read_text().splitlines()
    assert len(lines) == 2
    last = json.loads(lines[1])
    assert last["step"] == 2
    assert last["changes"] == {"losses.l1": [10.0, 3.0]}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({}, {"train__ema_decay": 0.9, "optimizer__warmup_steps": 5}),
        ({"train__ema_decay": 0.9, "optimizer__kind": "muon"}, {"optimizer__decay": "cosine"}),
    ],
)
def test_a_change_holds_if_the_run_ended_before_its_next_checkpoint(tmp_path, before, now):
    old, new = small.shallow(**before), small.shallow(**now)
    networks = models.build(old)
    first = state.create(old, networks)
    checkpoints = Checkpoints(tmp_path / run_folder.CHECKPOINTS, made_with=state.made_with(old))
    checkpoints.save(first)
    checkpoints.close()
    run_folder.record(new, tmp_path)
    restored = loop.restore_or_create(new, mesh_of(1), checkpoints)
    assert jax.tree.structure(restored) == jax.tree.structure(state.abstract(new, networks))
    assert_trees_close(restored.params, first.params)
    assert_trees_close(TrainedModel.load(tmp_path).variables, first.eval_variables())


def test_schedules_go_on_from_the_updates_of_their_side():
    """The discriminator is updated only from the step on where its losses begin."""
    late = {"gan": {"start": 0.0, "steps": 3}}
    old = small.shallow(schedules=late)
    new = small.shallow(schedules=late, optimizer__decay="cosine")
    kept = state.create(old, models.build(old))
    adapted = state.adapted(new, kept.replace(step=kept.step + 7))

    def is_schedule(node):
        return isinstance(node, optax.ScaleByScheduleState)

    counts = {
        side: [int(n.count) for n in jax.tree.leaves(opt, is_leaf=is_schedule) if is_schedule(n)]
        for side, opt in adapted.opt_state.items()
    }
    begin = optimizers.begins(new)["discriminator"]
    assert 0 < begin < 7
    assert counts == {"generator": [7], "discriminator": [7 - begin]}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({}, {"train__ema_decay": 0.9, "optimizer__warmup_steps": 5}),
        ({"train__ema_decay": 0.9, "optimizer__warmup_steps": 5}, {}),
        ({"train__ema_decay": 0.9}, {"train__ema_decay": 0.5}),
    ],
)
def test_a_state_is_adapted_to_averages_and_warm_up(before, now):
    old, new = small.shallow(**before), small.shallow(**now)
    networks = models.build(old)
    kept = state.create(old, networks)
    moved = jax.tree.map(lambda x: x + 1, kept.opt_state)
    kept = kept.replace(step=kept.step + 7, opt_state=moved)
    adapted = state.adapted(new, kept)
    shapes = state.abstract(new, networks)
    assert jax.tree.structure(adapted) == jax.tree.structure(shapes)
    assert_trees_close(adapted.params, kept.params)
    assert int(adapted.step) == 7
    for side in state.SIDES:
        (_, (mine, *_)), (_, (theirs, *_)) = adapted.opt_state[side], kept.opt_state[side]
        assert int(mine.count) == 1
        assert_trees_close(mine.mu, theirs.mu)
        assert_trees_close(mine.nu, theirs.nu)
    if adapted.ema is not None:
        start = kept.ema or {name: kept.params[name] for name in state.SIDES["generator"]}
        assert_trees_close(adapted.ema, start)
