"""Packs the golden files of the authors' system into arrays.npz and index.json beside this file.

  python tests/golden/pack.py DIRECTORY_OF_NPZ_FILES

To stay small: an array that several files hold is kept once; of outputs and gradients with more
than 256 entries an eighth is kept, the largest always, the rest is NaN (not compared); weights
after training are left out; the full-size images are drawn again from their seed.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np

FILES = (
    "positional_embedding",
    "masked_attention",
    "masked_transformer",
    "sat_encoder",
    "sat_encoder_noconv",
    "sat_encoder_noself",
    "sat_encoder_reverse",
    "sat_encoder_vae",
    "scam_generator",
    "scam_generator_equalized",
    "scam_generator_layernorm",
    "scam_generator_mask_adain",
    "scam_generator_resnet",
    "scam_generator_simplex",
    "patchgan_discriminator",
    "losses",
    "train_steps",
    "full_celeba",
    "full_idesigner",
)


def thin(array: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """`array` with seven eighths of its entries NaN, the largest kept."""
    if array.size <= 256:
        return array
    keep = random.rand(array.size) < 1 / 8
    keep[np.abs(array).argmax()] = True
    return np.where(keep.reshape(array.shape), array, np.nan).astype(np.float32)


def main(source: pathlib.Path) -> None:
    index, arrays = {}, {}
    random = np.random.RandomState(0)
    for name in FILES:
        file = np.load(source / f"{name}.npz")
        index[name] = {}
        for key in file.files:
            if key.startswith("final/") or (name.startswith("full") and key == "in/image"):
                continue
            array = file[key]
            if array.dtype.kind == "U":
                index[name][key] = str(array)
                continue
            if key.split("/")[0] in ("out", "grad", "grad_in") or "/grad/" in key:
                array = thin(array, random)
            if array.dtype == np.int32:
                array = array.astype(np.uint8)
            digest = hashlib.sha1(repr(array.shape).encode() + array.tobytes()).hexdigest()[:12]
            arrays[digest] = array
            index[name][key] = {"array": digest}
    here = pathlib.Path(__file__).parent
    np.savez_compressed(here / "arrays.npz", **arrays)
    (here / "index.json").write_text(json.dumps(index, indent=0))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
