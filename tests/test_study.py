"""A study's runs, and which of them are done."""

import pytest
from helpers import small

from scam_jax.commands import study as study_command
from scam_jax.evaluation.results import Evaluation
from scam_jax.runs import study


def config(**variants):
    changed = small.config(seed=5, study__num_seeds=2)
    changed.study.variants = variants
    return changed


def test_every_variant_with_every_seed():
    runs = study.runs_of(config(scam={}, one_latent={"model": {"latents_per_label": 1}}))
    assert [*runs] == ["one_latent/seed_5", "scam/seed_5", "one_latent/seed_6", "scam/seed_6"]
    assert runs["one_latent/seed_6"].seed == 6
    assert runs["one_latent/seed_6"].model.latents_per_label == 1
    assert runs["scam/seed_6"].model.latents_per_label == 2, "variants do not touch each other"


def test_another_family_replaces_the_model():
    """It has other keys, and the variant none of the first one's."""
    other = small.config("model=sean")
    changes = {part: other[part] for part in ("model", "losses", "optimizer")}
    runs = study.runs_of(config(scam={}, sean=changes))
    assert runs["sean/seed_5"].model.to_dict() == other.model.to_dict()
    assert runs["sean/seed_5"].optimizer.b1 == 0
    assert runs["scam/seed_5"].model.family == "scam"


def test_a_variant_may_have_a_schedule():
    schedule = {"start": 0.0, "steps": 9}
    runs = study.runs_of(config(scam={}, late={"losses": {"schedules": {"gan": schedule}}}))
    assert runs["late/seed_5"].losses.schedules.gan.to_dict() == schedule
    assert not runs["scam/seed_5"].losses.schedules


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (1e-4, r"variants\.odd: 0.0001 is no dictionary of what it changes"),
        ({"model": {"latent_per_label": 1}}, r"variants\.odd: .*latent_per_label"),
        ({"model": {"latents_per_label": "one"}}, r"variants\.odd: .*one"),
        ({"train": 5}, r"variants\.odd: .*items"),
        ({"model": {"latents_per_label": 0}}, r"variants\.odd: .*latents_per_label = 0: use 1"),
    ],
)
def test_impossible_variants_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        study.runs_of(config(scam={}, odd=changes))


def test_figures_of_another_step_do_not_count(tmp_path):
    """A study that goes on for more steps than it had is evaluated anew."""
    assert not study_command._is_evaluated(tmp_path, 4)
    Evaluation(step=4, data="noise", split="test", count=1, figures=[]).save(tmp_path)
    assert study_command._is_evaluated(tmp_path, 4)
    assert not study_command._is_evaluated(tmp_path, 8)
