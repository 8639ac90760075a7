"""Parity of the SCAM networks with the authors' system, in fp32."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.closeness import assert_close, assert_trees_close

from scam_jax.models.discriminators import patchgan
from scam_jax.models.layers import primitives
from scam_jax.models.scam import attention, sat_encoder, scam_generator
from scam_jax.weights import convert, torch_names

OUTPUT, GRADIENT = 2e-5, 1e-4


def names_of(module) -> torch_names.Names:
    """What PyTorch calls the module's entries."""
    if isinstance(module, scam_generator.SCAMGenerator):
        return torch_names.GENERATORS["scam"]
    if isinstance(module, patchgan.MultiScaleDiscriminator):
        return torch_names.DISCRIMINATORS["patchgan"]
    return torch_names.ENCODERS["scam"]


def variables_of(module, state_dict, *args):
    """The module's variables for `args`, filled from PyTorch-named arrays."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *args)
    return convert.from_torch(state_dict, shapes, names_of(module))


@pytest.mark.parametrize("channels", [40, 16, 48])
def test_position(golden, channels):
    g = golden("positional_embedding")
    given, expected = g.nhwc(f"in/{channels}"), g.nhwc(f"out/{channels}")
    position = primitives.sinusoidal_position(*given.shape[1:3], channels)
    ours = np.concatenate([given, position[None]], -1) if channels == 40 else given + position
    assert_close(ours, expected, atol=1e-6)


def test_position_refuses_channels():
    with pytest.raises(ValueError, match="divisible by 4, got 6"):
        primitives.sinusoidal_position(4, 4, 6)


@pytest.mark.parametrize("name", ["masked_attention", "masked_transformer"])
def test_masked_attention(golden, name):
    g = golden(name)
    cls = {
        "masked_attention": attention.MaskedAttention,
        "masked_transformer": attention.MaskedTransformer,
    }[name]
    module = cls(g.meta["latent_dim"], g.meta["num_heads"])
    args = g["in/to"], g["in/from"], g["in/mask"] > 0
    variables = variables_of(module, g.group("params/"), *args)
    assert_close(jax.jit(module.apply)(variables, *args), g["out/out"], atol=OUTPUT)


def encoder_of(g) -> sat_encoder.SATEncoder:
    m = g.meta
    return sat_encoder.SATEncoder(
        num_labels=m["num_labels"],
        latents_per_label=m.get("num_latents_per_label", m.get("k")),
        background_latents=m["num_latents_bg"],
        latent_dim=m.get("latent_dim", m.get("dim")),
        attention_dim=16,
        num_blocks=m["num_blocks"],
        position_dim=m["positional_embedding_dim"],
        conv_features=m["conv_features_dim_first"],
        use_self_attention=m.get("use_self_attention", True),
        image_conv=m.get("image_conv", True),
        reverse_conv=m.get("reverse_conv", False),
        use_vae=m.get("use_vae", False),
    )


@pytest.mark.parametrize("variant", ["noconv", "noself", "reverse", "vae"])
def test_variant_of_the_sat_encoder(golden, variant):
    g = golden(f"sat_encoder_{variant}")
    module = encoder_of(g)
    args = g.nhwc("in/image"), g.labels()
    variables = variables_of(module, g.group("params/"), *args)
    out = jax.jit(module.apply)(variables, *args)
    if variant == "vae":
        out = np.concatenate(out, axis=-1)
    assert_close(out, g["out/latents"], atol=OUTPUT)


def test_sat_encoder_and_its_gradients(golden):
    """Latents, and the gradients of the parameters and of the image."""
    g = golden("sat_encoder")
    module = encoder_of(g)
    args = g.nhwc("in/image"), g.labels()
    variables = variables_of(module, g.group("params/"), *args)

    @partial(jax.grad, argnums=(0, 1), has_aux=True)
    def gradients(params, *args):
        latents = module.apply({"params": params}, *args)
        return jnp.sum(latents * g["in/cotangent"]), latents

    ours, latents = jax.jit(gradients)(variables["params"], *args)
    assert_close(latents, g["out/latents"], atol=OUTPUT)
    theirs = convert.from_torch(g.group("grad/"), variables, names_of(module))["params"]
    assert_trees_close(ours[0], theirs, atol=1e-6, of_largest=GRADIENT)
    assert_close(ours[1], g.nhwc("grad_in/image"), of_largest=GRADIENT)


def generator_of(g, **overrides) -> scam_generator.SCAMGenerator:
    m = g.meta
    options = dict(
        num_labels=m["num_labels"],
        latents_per_label=m.get("num_latents_per_label", m.get("k")),
        background_latents=m.get("num_latents_bg", m.get("num_labels_bg")),
        attention_dim=16,
        features=m.get("num_filters_last_layer", m.get("nf")),
        num_up_layers=m.get("num_up_layers", m.get("up")),
        attention=m.get("attention_type", "duplex"),
        architecture=m.get("architecture", "skip"),
        norm="layer" if m.get("norm_type") == "LayerNorm" else "instance",
        mask_adain_layers=m.get("num_up_layers_with_mask_adain", 0),
        layer=primitives.LayerSpec(equalized=m.get("use_equalized_lr", False)),
    )
    return scam_generator.SCAMGenerator(**{**options, **overrides})


def keys_of(labels):
    return jax.random.split(jax.random.key(1), labels.shape[0])


@pytest.mark.parametrize("variant", ["equalized", "layernorm", "mask_adain", "resnet", "simplex"])
def test_variant_of_the_scam_generator(golden, variant):
    g = golden(f"scam_generator_{variant}")
    module = generator_of(g)
    args = g.labels(), g["in/latents"], keys_of(g.labels())
    variables = variables_of(module, g.group("params/"), *args)
    assert_close(jax.jit(module.apply)(variables, *args), g.nhwc("out/image"), atol=OUTPUT)


def test_scam_generator_and_its_gradients(golden):
    """The image, and the gradients of the parameters."""
    g = golden("scam_generator")
    module = generator_of(g)
    args = g.labels(), g["in/latents"], keys_of(g.labels())
    variables = variables_of(module, g.group("params/"), *args)

    @partial(jax.grad, has_aux=True)
    def gradients(params, *args):
        image = module.apply({"params": params}, *args)
        return jnp.sum(image * g.nhwc("in/cotangent")), image

    ours, image = jax.jit(gradients)(variables["params"], *args)
    assert_close(image, g.nhwc("out/image"), atol=OUTPUT)
    theirs = {k: v for k, v in g.group("grad/").items()}
    shapes = {"params": variables["params"]}
    theirs = convert.from_torch(theirs, shapes, names_of(module))["params"]
    for tree in (ours, theirs):  # the gradients of noise are of the authors' random draws
        for module_name in tree:
            if isinstance(tree[module_name], dict):
                tree[module_name].pop("noise_scale", None)
    assert_trees_close(ours, theirs, atol=5e-6, of_largest=GRADIENT)


def test_discriminator(golden):
    g = golden("patchgan_discriminator")
    m = g.meta
    module = patchgan.MultiScaleDiscriminator(
        m["num_discriminators"], m["num_features_fst_conv"], m["num_layers"]
    )
    images = np.concatenate([g.nhwc("in/real"), g.nhwc("in/fake")])
    one_hot = jax.nn.one_hot(np.concatenate([g.labels()] * 2), m["num_labels"])
    variables = variables_of(module, g.group("params/"), images, one_hot)
    for scale, maps in enumerate(jax.jit(module.apply)(variables, images, one_hot)):
        for i, features in enumerate(maps):
            assert_close(features, g.nhwc(f"out/scale{scale}/feature{i}"), atol=OUTPUT)
