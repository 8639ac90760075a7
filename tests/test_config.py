"""Configs are checked before anything starts."""

import pytest
from absl import flags
from helpers import small

from configs import ade20k, celeba, common, faces, idesigner, synthetic, synthetic_study
from scam_jax import models
from scam_jax.runs import run_folder
from scam_jax.runs.validation import validate
from scam_jax.training.loss_weights import discriminator_start


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (dict(train__batch_size=0), r"config.train.batch_size = 0: use 1 or more"),
        (dict(model__dtype="float16"), r"config.model.dtype = 'float16': use one of float32, bfl"),
        (dict(parser__features=12), r"config.parser.features = 12: use a multiple of 8"),
        (
            dict(parser__learning_rate=0.0),
            r"config.parser.learning_rate = 0.0: use a number above 0",
        ),
        (dict(data__num_labels=300), r"config.data.num_labels = 300: .*at most 256"),
        (dict(model__generator__features=6), r"features = 6: .*divisible by 4"),
        (
            dict(model__generator__num_up_layers=5),
            r"num_up_layers = 5: .*16×16 image would be empty",
        ),
        (dict(model__encoder__num_heads=3), r"encoder.num_heads = 3: must divide .*= 16"),
        (dict(model__encoder__position_dim=6), r"position_dim = 6: .*divisible by 4"),
        (dict(model__generator__attention="triplex"), r"attention = 'triplex': use one of duplex"),
        (
            dict(train__profile="5"),
            r"train.profile = '5': use START:COUNT, such as 100:5, or nothing",
        ),
        (
            dict(schedules={"l1": {"start": 0.0, "steps": 3}}),
            r"losses.schedules.l1 = .*equal factors",
        ),
        (
            dict(schedules={"l1": {"begin": 0.0, "steps": 3}}),
            r"losses.schedules.l1 = .*has `start` and `steps`",
        ),
        (
            dict(schedules={"l2": {"start": 0.0, "steps": 3}}),
            r"losses.schedules.l2 = .*use one of gan, swapped, l1",
        ),
        (
            dict(schedules={"gan": {"start": -1.0, "steps": 3}}),
            r"losses.schedules.gan.start = -1.0: use 0 or more",
        ),
        (dict(losses__kl=1.0), r"losses.kl = 1.0: .*use_vae = True"),
        (dict(train__ema_decay=1.0), r"ema_decay = 1.0: use 0"),
        (dict(seed=-1), r"config.seed = -1: use 0 … 4294967295"),
        (dict(seed=2**32), r"config.seed = 4294967296: use 0"),
        (dict(optimizer__generator_learning_rate=-1.0), r"generator_learning_rate = -1.0"),
    ],
)
def test_impossible_values_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        validate(small.config(**overrides))


@pytest.mark.parametrize(
    ("choices", "overrides", "message"),
    [
        ("", dict(model__family="sean"), r"model.encoder = .*: .*--config=FILE:model=sean"),
        (
            "",
            dict(model__discriminator__kind="oasis"),
            r"model.discriminator = .*num_scales.*--config=FILE:discriminator=oasis",
        ),
        (
            "model=inade",
            dict(model__family="groupdnet"),
            r"model.family = 'groupdnet': model.latent_dim should .*--config=FILE:model=groupdnet",
        ),
        ("", dict(losses__gan_kind="oasis"), r"gan_kind = 'oasis': .*go together"),
        (
            "discriminator=oasis",
            dict(losses__gan_kind="hinge", data__height=64, data__width=64),
            r"gan_kind = 'hinge': .*go together",
        ),
        ("discriminator=oasis", dict(data__width=64), r"data.height = 16: .*multiple of 64"),
        (
            "discriminator=oasis",
            dict(
                data__height=64,
                data__width=64,
                losses__feature_matching=10.0,
            ),
            r"feature_matching = 10.0: .*no inner maps",
        ),
        (
            "discriminator=stylegan2",
            dict(model__discriminator__num_layers=5),
            r"discriminator.num_layers = 5: each halves an image of 16×16",
        ),
        (
            "model=sean",
            dict(losses__kl=0.05),
            r"losses.kl = 0.05: .*use_vae = True",
        ),
        (
            "model=spade",
            dict(train__accumulation_steps=2),
            r"accumulation_steps = 2: batch norm needs the whole batch",
        ),
        (
            "model=clade",
            dict(
                model__encoder__use_vae=False,
                losses__kl=0.0,
                losses__swapped=1.0,
            ),
            r"losses.swapped = 1.0: .*no latents to swap",
        ),
        (
            "model=groupdnet",
            dict(data__num_labels=5),
            r"generator.features = 4: .*one channel per label: use 5",
        ),
        (
            "model=groupdnet",
            dict(model__generator__num_up_layers=4),
            r"num_up_layers = 4: GroupDNet needs 5",
        ),
        (
            "model=inade",
            dict(model__generator__num_up_layers=7),
            r"num_up_layers = 7: .*16×16 image would be empty",
        ),
        (
            "",
            dict(model__equalized=True, model__initialization="xavier"),
            r"initialization = 'xavier': equalized",
        ),
        ("", dict(optimizer__sam_rho=-0.5), r"sam_rho = -0.5: use 0 or more"),
    ],
)
def test_impossible_combinations_are_refused(choices, overrides, message):
    with pytest.raises(ValueError, match=message):
        validate(small.config(choices, **overrides))


@pytest.mark.parametrize("family", models.FAMILIES)
def test_every_family_is_a_choice_of_every_config(family):
    """At its published settings: what cannot be on a data set is refused with the reason."""
    for file in (ade20k, celeba, faces, idesigner, synthetic, synthetic_study):
        config = file.get_config(f"model={family}")
        if (file, family) == (ade20k, "groupdnet"):
            with pytest.raises(ValueError, match=r"features = 64: .*use 151 or more"):
                validate(config)
        else:
            validate(config)
        assert config.model.family == family


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ("model=sna", r"FILE:model=sna: use model= one of scam, spade"),
        ("modl=sean", r"FILE:modl=sean: use model or discriminator"),
        ("sean", r"FILE:sean: use model or discriminator"),
    ],
)
def test_unknown_choices_are_refused(choices, message):
    with pytest.raises(flags.IllegalFlagValueError, match=message):
        celeba.get_config(choices)


def test_batch_must_divide_among_devices():
    with pytest.raises(ValueError, match=r"batch_size = 4: must be a multiple .* devices, 3"):
        validate(small.config(), num_devices=3)


def test_an_image_a_device_has_none_to_swap_latents_with():
    config = small.config(losses__swapped=1.0)
    validate(config, num_devices=2)
    with pytest.raises(ValueError, match=r"batch_size = 4: losses.swapped .* use 8 or more on 4"):
        validate(config, num_devices=4)


def test_a_choice_is_in_the_name_of_the_run():
    assert str(run_folder.default("configs/celeba.py")) == "runs/celeba"
    assert str(run_folder.default("configs/celeba.py:model=sean")) == "runs/celeba_sean"
    both = "configs/celeba.py:model=sean,discriminator=oasis"
    assert str(run_folder.default(both)) == "runs/celeba_sean_oasis"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gan": 0.0, "swapped": 1.0}, "losses.swapped = 1.0: the discriminator learns real"),
        ({"gan": 0.0, "feature_matching": 1.0}, "losses.feature_matching = 1.0: the discriminator"),
        ({"gan": 0.0, "r1": 1.0}, "losses.r1 = 1.0: the discriminator learns real images by"),
        (
            {"swapped": 1.0, "schedules": {"gan": {"start": 0.0, "steps": 9}}},
            "losses.swapped = 1.0: .* which is 0 before step 9: set losses.schedules.gan.steps = 0",
        ),
        ({"schedules": {"l1": 0.5}}, "losses.schedules.l1 = 0.5: a schedule is {'start'"),
        ({"schedules": {"l2": 0.5}}, "losses.schedules.l2 = 0.5: use one of gan, "),
    ],
)
def test_losses_that_teach_nothing_are_refused(changes, message):
    config = small.config()
    with config.unlocked():
        config.losses.update(changes)
    with pytest.raises(ValueError, match=message):
        validate(config)


def test_a_swapped_loss_may_begin_with_the_gan_loss():
    config = small.config(losses__swapped=1.0, losses__r1=1.0)
    with config.unlocked():
        config.losses.schedules.gan = {"start": 0.0, "steps": 9}
        config.losses.schedules.swapped = {"start": 0.0, "steps": 9}
    validate(config)
    assert discriminator_start(config) == 9
    config.losses.schedules.gan.steps = 0
    validate(config)
    assert discriminator_start(config) == 0


def test_scam_is_what_is_chosen_by_default():
    assert common.base("model=scam").to_dict() == common.base().to_dict()
    assert common.base("discriminator=patchgan").to_dict() == common.base().to_dict()
    named = common.base("model=sean,discriminator=patchgan")
    assert named.to_dict() == common.base("model=sean").to_dict()
    assert common.base("model=clade,discriminator=stylegan2").model.discriminator.spectral_norm


def test_a_config_of_another_version_names_the_key_that_it_lacks():
    config = small.config()
    with config.unlocked():
        del config["parser"]
    with pytest.raises(ValueError, match=r"config.parser.features is missing: .*another version"):
        validate(config)
