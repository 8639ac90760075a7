"""PyTorch's names of our variables. No other file depends on these names."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict


class Names(NamedTuple):
    """The names of a network's entries in PyTorch.

    Attributes:
      modules: pairs of a pattern and its replacement, applied in order to the paths of our modules.
      left_out: pattern of PyTorch entries that have no variable here.
    """

    modules: Sequence[tuple[str, str | Callable[[re.Match], str]]]
    left_out: str = r"(?!)"


# Entries that PyTorch derives from others, or counts in training.
_DERIVED = r"(^|\.)(latents_mask|inv_freq|num_batches_tracked)$"

# Attention. In the authors' code the names of the key and value layers are swapped.
_ATTENTION = [
    (r"(^|/)query$", r"\1q_linear"),
    (r"(^|/)key$", r"\1v_linear"),
    (r"(^|/)value$", r"\1k_linear"),
    (r"(^|/)out$", r"\1out.0"),
    (r"norm_(\d)$", r"ln_\1"),
    (r"mlp_1$", "fc.0"),
    (r"mlp_2$", "fc.2"),
]
_LABEL_MAP_ENCODER = [
    (r"label_map_encoder/shared", "segmap_encoder.shared_mlp.0"),
    (r"label_map_encoder/gamma", "segmap_encoder.gamma_mlp"),
    (r"label_map_encoder/beta", "segmap_encoder.mu_mlp"),
]
_STRIDED_CONVS = [
    (r"^layer_(\d)$", r"layer\1.0"),
    (r"^mean$", "fc_mu"),
    (r"^log_variance$", "fc_var"),
]


def _residual_generator(name: str, block: str) -> Names:
    """Returns the names of a baseline's generator, with blocks `backbone.NAME_block_0.BLOCK`."""
    modules = [
        *_LABEL_MAP_ENCODER,
        (r"/code_projection$", ".st_proj.style_code_{i}_proj.0"),
        (r"/code_(gamma|beta)$", r".mlp_st_\1"),
        (r"/noise_linear$", ".segmap_encoder.fc_noise"),
        (r"/label_table$", ".segmap_encoder"),
        (r"/batch_norm$", ".normalization_layer"),
        (r"^block_(\d+)_(conv_\d)", rf"backbone.{name}_block_\1.{block}.\2.1"),
        (r"^block_(\d+)_(\w+)", rf"backbone.{name}_block_\1.{block}.\2"),
        (r"^last_conv$", "last_conv.1"),
    ]
    # The last block of SEAN has blending shares that it does not use.
    return Names(modules, rf"{_DERIVED}|\.blending_(gamma|beta)$")


_SPADE_ENCODER = Names(_STRIDED_CONVS)
_SEAN_ENCODER = Names(
    [
        (r"^(first|last)_conv$", r"\1_layer.1"),
        (r"^(down|up)_(\d)$", r"bottleneck.\1_\2.0"),
        (r"^gaussian$", "vae_mapper"),
    ]
)

# Encoders and generators of the authors' system, keyed by family.
ENCODERS = {
    "scam": Names(
        [
            *_ATTENTION,
            (r"^conv_(\d+)$", r"convs.\1.0"),
            (r"(cross|self)_attention_(\d+)", r"backbone.block_\2.\1_attention"),
            (r"^gaussian$", "vae_mapper.{i}"),
        ],
        left_out=_DERIVED,
    ),
    "spade": _SPADE_ENCODER,
    "clade": _SPADE_ENCODER,
    "sean": _SEAN_ENCODER,
    "sean_clade": _SEAN_ENCODER,
    "inade": Names(
        [
            (r"^layer_(\d)$", r"layer\1"),
            (r"^up_(\d)$", r"up\1"),
            (r"^(scale|bias)_mean$", r"\1_conv_mu"),
            (r"^(scale|bias)_log_variance$", r"\1_conv_var"),
        ]
    ),
    "groupdnet": Names(_STRIDED_CONVS),
}
GENERATORS = {
    "scam": Names(
        [
            *_LABEL_MAP_ENCODER,
            (r"block_(\d+)_rgb_mod", r"backbone.SCAM_block_\1.torgb.mod_rgb"),
            (r"block_(\d+)_rgb_conv", r"backbone.SCAM_block_\1.torgb.conv_rgb"),
            (r"block_(\d+)_(conv_\d)", r"backbone.SCAM_block_\1.\2.1"),
            (r"block_(\d+)_(\w+)", r"backbone.SCAM_block_\1.\2"),
            (r"/batch_norm$", ".normalization_layer"),
            (r"/gamma$", ".mlp_lti_gamma"),
            (r"/beta$", ".mlp_lti_beta"),
            (r"latent_mlp_1", "fc_itl.0"),
            (r"latent_mlp_2", "fc_itl.2"),
            *_ATTENTION,
        ],
        left_out=_DERIVED,
    ),
    "spade": _residual_generator("SPADE", "spade_block"),
    "clade": _residual_generator("CLADE", "clade_block"),
    "sean": _residual_generator("SEAN", "sean_block"),
    "sean_clade": _residual_generator("SEANCLADE", "sean_clade_block"),
    "inade": _residual_generator("INADE", "inade_block"),
    "groupdnet": _residual_generator("GroupDNet", "groupdnet_block"),
}
# Discriminators, keyed by `config.model.discriminator.kind`.
_SCALE = (r"^scale_(\d)/", r"discriminators.discriminator_\1/")
DISCRIMINATORS = {
    "patchgan": Names([_SCALE, (r"/(conv_\d|last_conv)$", r"/model.\1.0")]),
    "stylegan2": Names(
        [
            _SCALE,
            (r"/block_(\d)_conv_(\d)$", lambda m: f"/blocks.{m[1]}.net.{2 * int(m[2])}"),
            (r"/block_(\d)_conv_res$", r"/blocks.\1.conv_res"),
            (r"/block_(\d)_down$", r"/blocks.\1.downsample.0"),
            (r"/final_conv$", "/final_block.0"),
            (r"/final_linear$", "/final_block.2"),
        ]
    ),
    "oasis": Names(
        [
            (r"^down_0_conv_1$", "body_down.0.conv1.0"),
            (r"^down_(\d)_conv_1$", r"body_down.\1.conv1.1"),
            (r"^up_(\d)_conv_1$", r"body_up.\1.conv1.2"),
            (r"^(down|up)_(\d)_conv_2$", r"body_\1.\2.conv2.1"),
            (r"^(down|up)_(\d)_conv_res$", r"body_\1.\2.conv_s"),
            (r"^last_conv$", "layer_up_last"),
        ]
    ),
}


def of_config(config: ConfigDict) -> dict[str, Names]:
    """Returns the names of a config's networks, keyed by network."""
    family, kind = config.model.family, config.model.discriminator.kind
    return {
        "encoder": ENCODERS[family],
        "generator": GENERATORS[family],
        "discriminator": DISCRIMINATORS[kind],
    }


# torchvision numbers the layers of VGG19 and AlexNet, including ReLUs and pools.
_VGG19_INDEX = dict(
    zip(
        [(b, i) for b, n in enumerate((2, 2, 4, 4, 1), 1) for i in range(1, n + 1)],
        [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28],
        strict=True,
    )
)
_ALEXNET_INDEX = (0, 3, 6, 8, 10)

# Frozen networks, keyed by their names in `pretrained.SOURCES`.
FROZEN = {
    "vgg19": Names(
        [(r"^relu(\d)_(\d)$", lambda m: f"features.{_VGG19_INDEX[int(m[1]), int(m[2])]}")],
        left_out=r"^classifier\.|^features\.(30|32|34)\.",
    ),
    "alexnet": Names(
        [(r"^conv_(\d)$", lambda m: f"features.{_ALEXNET_INDEX[int(m[1]) - 1]}")],
        left_out=r"^classifier\.",
    ),
    "lpips_alex": Names([(r"^layer_(\d)$", lambda m: f"lin{int(m[1]) - 1}.model.1")]),
    "inception": Names(
        [
            (r"^conv_", "Conv2d_"),
            (r"^mixed_(\w\w)_", r"Mixed_\1.branch"),
            (r"branchpool", "branch_pool"),
            (r"/norm$", ".bn"),
        ],
        left_out=rf"^fc\.|{_DERIVED}",
    ),
    "reid_resnet50": Names(
        [
            (r"^layer_(\d)_(\d)", r"layer\1.\2"),
            (r"shortcut/conv$", "downsample.0"),
            (r"shortcut/norm$", "downsample.1"),
            (r"unit_(\d)/conv$", r"conv\1"),
            (r"unit_(\d)/norm$", r"bn\1"),
        ],
        left_out=rf"^fc\.|{_DERIVED}",
    ),
}

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "variance": "running_var",
    "noise_scale": "noise_var",
    "blend_gamma": "blending_gamma",
    "blend_beta": "blending_beta",
    "label_weight": "weight",
    "label_bias": "bias",
    "u": "weight_u",
    "v": "weight_v",
}


def torch_name(path: Sequence[str], names: Names) -> str:
    """Returns PyTorch's name of one of our variables.

    PyTorch appends `_orig` to the names of kernels with spectral norm.

    Args:
      path: path of the variable within its network, without the collection.
      names: the network's names.

    Returns:
      The name. It contains `{i}` if several PyTorch entries are stacked in our variable.
    """
    module = "/".join(path[:-1])
    for pattern, name in names.modules:
        module = re.sub(pattern, name, module)
    return ".".join([*filter(None, module.split("/")), _LEAVES.get(path[-1], path[-1])])


def vgg19_kernels() -> list[str]:
    """Returns PyTorch's names of VGG19's kernels, in order."""
    return [f"features.{index}.weight" for index in _VGG19_INDEX.values()]
