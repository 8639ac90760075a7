"""The three independent factors of a synthetic scene: background, pose and appearance.

The pose alone determines the label map. The appearance holds all colours and patterns of the
person. Lengths are in units of the image height, angles in radians, colours RGB in 0 … 1.
"""

import colorsys
import dataclasses
import math

import numpy as np

Colour = tuple[float, float, float]

OBJECT_KINDS = ("disc", "picture", "window", "lamp", "plant", "shelf")
HAIR_SHAPES = ("short", "bob", "long", "curly", "bun", "pigtails")
_HIDDEN_BY_HAT = ("short", "bun")
HAT_SHAPES = ("none", "beanie", "brim")
BOTTOM_SHAPES = ("trousers", "skirt")
TOP_PATTERNS = ("bands", "split", "emblem", "diagonal")
BOTTOM_PATTERNS = ("bands", "split", "diagonal")
HAIR_PATTERNS = ("gradient", "halves", "streaks", "tips")
HAT_PATTERNS = ("trim", "halves", "checks")
MOUTHS = ("smile", "open", "moustache")

# Ranges (low, high) of the angles of (upper arm, forearm), in degrees: 0 hangs straight down,
# positive angles point outwards.
_ARM_POSITIONS = {
    "lowered": ((16, 30), (5, 30)),
    "on_hip": ((48, 62), (-42, -28)),
    "out": ((55, 80), (60, 100)),
    "raised": ((85, 110), (150, 185)),
}
_SKIN_RAMP = np.array(
    [
        (0.99, 0.86, 0.76),
        (0.94, 0.74, 0.58),
        (0.80, 0.57, 0.40),
        (0.56, 0.36, 0.24),
        (0.36, 0.22, 0.16),
    ]
)


@dataclasses.dataclass(frozen=True)
class Thing:
    """An object in the background.

    Attributes:
      kind: one of `OBJECT_KINDS`.
      x: horizontal position of its centre.
      y: vertical position of its centre.
      size: roughly half its height.
      colours: its main colour and its second colour.
    """

    kind: str
    x: float
    y: float
    size: float
    colours: tuple[Colour, Colour]


@dataclasses.dataclass(frozen=True)
class Background:
    """A wall with a vertical gradient, a floor below it, and two to five things.

    Attributes:
      wall_top: colour of the wall at the top of the image.
      wall_bottom: colour of the wall at the floor.
      floor: colour of the floor.
      horizon: vertical position where the floor begins.
      things: the things, from back to front.
    """

    wall_top: Colour
    wall_bottom: Colour
    floor: Colour
    horizon: float
    things: tuple[Thing, ...]

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Background":
        """Samples a background; its colours are paler than clothes, so the person stands out."""
        hue = rng.uniform()
        count = int(rng.integers(2, 6))
        # Spread the things over the width, because the person hides the middle.
        slots = rng.permutation(np.linspace(-0.42, 0.42, 5))[:count]
        return cls(
            wall_top=_hsv(hue, rng.uniform(0.1, 0.45), rng.uniform(0.75, 1.0)),
            wall_bottom=_hsv(
                hue + rng.uniform(-0.15, 0.15), rng.uniform(0.1, 0.5), rng.uniform(0.5, 0.95)
            ),
            floor=_hsv(rng.uniform(), rng.uniform(0.15, 0.5), rng.uniform(0.35, 0.7)),
            horizon=rng.uniform(0.72, 0.88),
            things=tuple(_sample_thing(rng, float(slot)) for slot in slots),
        )


@dataclasses.dataclass(frozen=True)
class Arm:
    """Angles of the upper arm and the forearm: 0 hangs straight down, positive points outwards."""

    upper: float
    fore: float


@dataclasses.dataclass(frozen=True)
class Pose:
    """The whole geometry of a person, which determines the label map.

    Attributes:
      x: horizontal position of the hips.
      y: vertical position of the hips.
      scale: size of the person relative to the image.
      lean: rotation of the torso, in radians.
      build: relative width of the body.
      head_offset: horizontal position of the head on the torso.
      head_tilt: rotation of the head against the torso, in radians.
      face_width: half the width of the face.
      left_arm: the arm on the left of the image.
      right_arm: the arm on the right of the image.
      sleeve: part of the arm that the sleeve covers, 0 … 1.
      hair: one of `HAIR_SHAPES`.
      hair_length: factor of the length of the hair.
      fringe: height of the fringe's edge over the centre of the face, at the parting.
      parting: horizontal position of the parting, relative to `face_width`.
      hat: one of `HAT_SHAPES`.
      bottom: one of `BOTTOM_SHAPES`.
      flare: how wide the bottom becomes towards its hem, 0 … 1.
    """

    x: float
    y: float
    scale: float
    lean: float
    build: float
    head_offset: float
    head_tilt: float
    face_width: float
    left_arm: Arm
    right_arm: Arm
    sleeve: float
    hair: str
    hair_length: float
    fringe: float
    parting: float
    hat: str
    bottom: str
    flare: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Pose":
        """Samples a pose; some hair is always visible below a hat."""
        hair = str(rng.choice(HAIR_SHAPES))
        no_hat = 1.0 if hair in _HIDDEN_BY_HAT else 0.1
        return cls(
            x=rng.uniform(-0.06, 0.06),
            y=rng.uniform(0.79, 0.83),
            scale=rng.uniform(0.92, 1.03),
            lean=rng.uniform(-0.1, 0.1),
            build=rng.uniform(0.9, 1.15),
            head_offset=rng.uniform(-0.025, 0.025),
            head_tilt=rng.uniform(-0.22, 0.22),
            face_width=rng.uniform(0.122, 0.138),
            left_arm=_sample_arm(rng),
            right_arm=_sample_arm(rng),
            sleeve=rng.choice((0.45, 0.7, 1.0)) * rng.uniform(0.9, 1.0),
            hair=hair,
            hair_length=rng.uniform(0.8, 1.2),
            fringe=rng.uniform(0.055, 0.085),
            parting=rng.uniform(-0.45, 0.45),
            hat=str(rng.choice(HAT_SHAPES, p=(no_hat, (1 - no_hat) / 2, (1 - no_hat) / 2))),
            bottom=str(rng.choice(BOTTOM_SHAPES)),
            flare=rng.uniform(0.0, 1.0),
        )


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A pattern of several colours.

    Attributes:
      kind: the kind of pattern, such as one of `TOP_PATTERNS`.
      colours: three colours; some kinds use only the first two.
      width: width of the pattern's elements.
      mirror: 1, or -1 for the mirrored pattern.
    """

    kind: str
    colours: tuple[Colour, ...]
    width: float
    mirror: int


@dataclasses.dataclass(frozen=True)
class Appearance:
    """All colours and patterns of a person; the pose sets the frames in which they are drawn.

    Attributes:
      skin: colour of the skin.
      blush: colour of the cheeks.
      iris: colour of the irises.
      brow: colour of the eyebrows and of a moustache.
      lips: colour of the lips.
      mouth: one of `MOUTHS`.
      glasses: colour of the glasses; None for a person without glasses.
      hair: pattern of the hair, one of `HAIR_PATTERNS`.
      hat: pattern of the hat, one of `HAT_PATTERNS`.
      top: pattern of the top, one of `TOP_PATTERNS`.
      bottom: pattern of the bottom, one of `BOTTOM_PATTERNS`.
    """

    skin: Colour
    blush: Colour
    iris: Colour
    brow: Colour
    lips: Colour
    mouth: str
    glasses: Colour | None
    hair: Pattern
    hat: Pattern
    top: Pattern
    bottom: Pattern

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Appearance":
        """Samples an appearance."""
        tone = rng.uniform(0, len(_SKIN_RAMP) - 1)
        skin = np.array([np.interp(tone, np.arange(len(_SKIN_RAMP)), c) for c in _SKIN_RAMP.T])
        return cls(
            skin=tuple(skin.tolist()),
            blush=tuple((skin * 0.72 + np.array([0.28, 0.05, 0.07])).tolist()),
            iris=_hsv(rng.uniform(), rng.uniform(0.5, 1.0), rng.uniform(0.2, 0.7)),
            brow=_hsv(rng.uniform(), rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.3)),
            lips=_hsv(rng.uniform(0.93, 1.04), rng.uniform(0.6, 0.9), rng.uniform(0.45, 0.85)),
            mouth=str(rng.choice(MOUTHS, p=(0.45, 0.35, 0.2))),
            glasses=_hsv(rng.uniform(), 0.9, rng.uniform(0.1, 0.8))
            if rng.uniform() < 0.4
            else None,
            hair=_sample_pattern(rng, HAIR_PATTERNS, (0.09, 0.11)),
            hat=_sample_pattern(rng, HAT_PATTERNS, (0.09, 0.11)),
            top=_sample_pattern(rng, TOP_PATTERNS, (0.12, 0.14)),
            bottom=_sample_pattern(rng, BOTTOM_PATTERNS, (0.07, 0.085)),
        )


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


def _sample_thing(rng: np.random.Generator, slot: float) -> Thing:
    kind = str(rng.choice(OBJECT_KINDS))
    hue = rng.uniform()
    first = _hsv(hue, rng.uniform(0.4, 0.9), rng.uniform(0.5, 1.0))
    second = _hsv(hue + rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.9), rng.uniform(0.3, 1.0))
    return Thing(
        kind=kind,
        x=slot + rng.uniform(-0.04, 0.04),
        y=rng.uniform(0.15, 0.5),
        size=rng.uniform(0.08, 0.15),
        colours=(first, second),
    )


def _sample_arm(rng: np.random.Generator) -> Arm:
    upper, fore = _ARM_POSITIONS[str(rng.choice(list(_ARM_POSITIONS)))]
    return Arm(math.radians(rng.uniform(*upper)), math.radians(rng.uniform(*fore)))


def _sample_pattern(
    rng: np.random.Generator, kinds: tuple[str, ...], width: tuple[float, float]
) -> Pattern:
    return Pattern(
        kind=str(rng.choice(kinds)),
        colours=_contrasting_colours(rng),
        width=rng.uniform(*width),
        mirror=int(rng.choice((-1, 1))),
    )


def _contrasting_colours(rng: np.random.Generator) -> tuple[Colour, ...]:
    """Samples a dark, a light and a strong colour with well separated hues, in random order."""
    hue, turn = rng.uniform(), rng.uniform(0.25, 0.42)
    dark = _hsv(hue, rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.55))
    light = _hsv(hue + turn, rng.uniform(0.15, 0.5), rng.uniform(0.85, 1.0))
    strong = _hsv(hue - turn, rng.uniform(0.6, 0.85), rng.uniform(0.6, 0.9))
    return tuple((dark, light, strong)[i] for i in rng.permutation(3))
