"""Packs the golden files of the authors' system into golden.npz beside this file.

  python tests/golden/pack.py DIRECTORY_OF_NPZ_FILES

All arrays of a type lie in one, one behind the other; the index says where each begins, and its
shape. To stay small: an array that several files hold is kept once; of outputs, gradients and
states after training with more than 256 entries an eighth is kept, the largest always, the rest is
NaN (not compared); weights after training are left out; images of a seed are drawn again from it.
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
    "spade_encoder",
    "sean_encoder",
    "inade_encoder",
    "groupdnet_encoder",
    "spade_generator",
    "spade_generator_novae",
    "clade_generator",
    "sean_generator",
    "sean_clade_generator",
    "inade_generator",
    "groupdnet_generator",
)
# Their weights are drawn by rule, their images from a seed.
BY_RULE = FILES[FILES.index("full_celeba") :]


THINNED = ("out", "grad", "grad_in", "state_after_train")


def thin(array: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """`array` with seven eighths of its entries NaN, the largest kept."""
    if array.size <= 256:
        return array
    keep = random.rand(array.size) < 1 / 8
    keep[np.abs(array).argmax()] = True
    return np.where(keep.reshape(array.shape), array, np.nan).astype(np.float32)


def main(source: pathlib.Path) -> None:
    index, places, flat = {}, {}, {}
    random = np.random.RandomState(0)
    for name in FILES:
        file = np.load(source / f"{name}.npz")
        index[name] = {"meta": {}, "arrays": {}}
        for key in file.files:
            if key.startswith("final/") or (name in BY_RULE and key == "in/image"):
                continue
            array = file[key]
            if array.dtype.kind == "U":
                if key == "meta":
                    index[name]["meta"] = json.loads(str(array))
                continue
            if key.split("/")[0] in THINNED or "/grad/" in key:
                array = thin(array, random)
            if array.dtype == np.int32:
                array = array.astype(np.uint8)
            digest = hashlib.sha1(repr(array.shape).encode() + array.tobytes()).hexdigest()
            if digest not in places:
                parts = flat.setdefault(str(array.dtype), [])
                start = sum(part.size for part in parts)
                parts.append(array.ravel())
                places[digest] = [str(array.dtype), start, *array.shape]
            index[name]["arrays"][key] = places[digest]
    text = np.frombuffer(json.dumps(index).encode(), np.uint8)
    joined = {dtype: np.concatenate(parts) for dtype, parts in flat.items()}
    np.savez_compressed(pathlib.Path(__file__).parent / "golden.npz", index=text, **joined)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
