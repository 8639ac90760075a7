"""Label orders of data sets and parsers, maps that merge their labels, and the names of labels."""

from collections.abc import Sequence

from scam_jax.inference.label_map import LabelMap, reorder, table

# The names that each label is made of.
Parts = tuple[tuple[str, ...], ...]
_SHOWN = 3

# The label order of CelebAMask-HQ, which SCAM is trained with.
CELEBA_MASK_HQ = (
    *("background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow"),
    *("l_ear", "r_ear", "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r"),
    *("neck_l", "neck", "cloth"),
)
# The label order of the BiSeNet face parser, github.com/zllrunning/face-parsing.PyTorch.
FACE_PARSING = (
    *("background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear"),
    *("r_ear", "ear_r", "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l"),
    *("cloth", "hair", "hat"),
)
# The label order of Look into Person (LIP), which human parsers are trained on.
LIP = (
    *("background", "hat", "hair", "glove", "sunglasses", "upper_clothes", "dress", "coat"),
    *("socks", "pants", "jumpsuits", "scarf", "skirt", "face", "left_arm", "right_arm"),
    *("left_leg", "right_leg", "left_shoe", "right_shoe"),
)
# The label order of ATR, which SCHP and SegFormer for clothes have, too.
ATR = (
    *("background", "hat", "hair", "sunglasses", "upper_clothes", "skirt", "pants", "dress"),
    *("belt", "left_shoe", "right_shoe", "face", "left_leg", "right_leg", "left_arm"),
    *("right_arm", "bag", "scarf"),
)
# The label order of MediaPipe's multi-class selfie segmenter.
MEDIAPIPE = ("background", "hair", "body_skin", "face_skin", "clothes", "others")
# LIP's labels merged for iDesigner (paper, section 4): to background, face (with hat, hair and
# sunglasses) and body; or to background and body (with the face).
BODY_FACE_BACKGROUND = "0|1,2,4,13|*"
BODY_FACE_BACKGROUND_NAMES = ("background", "face", "body")
BODY_BACKGROUND = "0|*"
# The label order of Clothing Co-Parsing, whose label_list.mat calls the background 'null'.
CCP = (
    *("background", "accessories", "bag", "belt", "blazer", "blouse", "bodysuit"),
    *("boots", "bra", "bracelet", "cape", "cardigan", "clogs", "coat", "dress"),
    *("earrings", "flats", "glasses", "gloves", "hair", "hat", "heels", "hoodie"),
    *("intimate", "jacket", "jeans", "jumper", "leggings", "loafers", "necklace"),
    *("panties", "pants", "pumps", "purse", "ring", "romper", "sandals", "scarf"),
    *("shirt", "shoes", "shorts", "skin", "skirt", "sneakers", "socks", "stockings"),
    *("suit", "sunglasses", "sweater", "sweatshirt", "swimwear", "t-shirt", "tie"),
    *("tights", "top", "vest", "wallet", "watch", "wedges"),
)
# CCP's labels merged to nine.
CCP_CLOTHES = (
    "0|19|41|5,6,8,11,22,23,26,38,48,49,51,52,54,55|4,10,13,24,46|25,27,30,31,40,42,44,45,53|"
    "14,35,50|7,12,16,21,28,32,36,39,43,58|*"
)
CCP_CLOTHES_NAMES = (
    *("background", "hair", "skin", "top", "outerwear", "bottom", "dress", "shoes"),
    "accessories",
)
# The labels of other parsers merged to these nine.
LIP_CLOTHES = "0|2|13,14,15,16,17|5|7|8,9,12|6,10|18,19|1,3,4,11"
ATR_CLOTHES = "0|2|11,12,13,14,15|4||5,6|7|9,10|1,3,8,16,17"
MEDIAPIPE_CLOTHES = "0|1|2,3|4|||||5"
# Names of the labels that these maps make of a folder's label maps.
_NAMES_OF_MAP = {
    BODY_FACE_BACKGROUND: BODY_FACE_BACKGROUND_NAMES,
    reorder(FACE_PARSING, CELEBA_MASK_HQ): CELEBA_MASK_HQ,
    **dict.fromkeys((CCP_CLOTHES, LIP_CLOTHES, ATR_CLOTHES, MEDIAPIPE_CLOTHES), CCP_CLOTHES_NAMES),
}
# Names of the labels of data sets, before a map.
_NAMES_OF_DATA = {
    "celeba_mask_hq": CELEBA_MASK_HQ,
    "celeba_mask_hq_sean": CELEBA_MASK_HQ,
    "ccp": CCP,
}


def parts_of(data: str, label_map: LabelMap, known: Sequence[str] = ()) -> Parts:
    """Returns the names that each label of a model is made of, empty if unknown.

    Args:
      data: `config.data.name`.
      label_map: the map of `config.data`.
      known: the names of the numbers in files, if this module does not know them.
    """
    if data in ("folder", "ccp") and label_map.text in _NAMES_OF_MAP:
        return tuple((name,) for name in _NAMES_OF_MAP[label_map.text])
    return merged(known or _NAMES_OF_DATA.get(data, ()), label_map)


def merged(names: Sequence[str], label_map: LabelMap) -> Parts:
    """Returns the names that each label of a map is made of.

    Args:
      names: the names of the numbers in files from 0 on, empty if unknown.
      label_map: the map.
    """
    if not names:
        return ()
    labels = table(label_map.text, label_map.num_labels, label_map.ignore_label)
    parts: list[dict[str, None]] = [{} for _ in range(label_map.num_labels)]
    for name, label in zip(names, labels, strict=False):
        if 0 <= label < label_map.num_labels:
            parts[label][name] = None
    return tuple(tuple(part) for part in parts)


def joined(parts: Parts) -> tuple[str, ...]:
    """Returns one name for each label, such as 'l_eye, r_eye'; of many parts, three and '…'."""
    return tuple(", ".join(part[:_SHOWN]) + ", …" * (len(part) > _SHOWN) for part in parts)
