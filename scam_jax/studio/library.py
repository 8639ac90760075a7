"""The pictures of a studio: those of a data set or release, and those that its user brings."""

import collections
import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from scam_jax.examples import Picture, Source
from scam_jax.inference import release_examples

# The group of the pictures that the user brings, and how many of them are kept.
OWN = "own"
MOST_OWN = 64


@dataclasses.dataclass(frozen=True)
class Group:
    """Pictures of one origin, in order.

    Attributes:
      source: examples: pictures, or transfers whose true results are known. A transfer has two
        pictures: its subject, then its target.
    """

    source: Source

    @property
    def has_transfers(self) -> bool:
        """Whether the examples are transfers."""
        return len(self.source) > 0 and release_examples.TRUTH in self.source[0]

    def __len__(self) -> int:
        return len(self.source) * (2 if self.has_transfers else 1)

    def __getitem__(self, index: int) -> Picture:
        if not self.has_transfers:
            return Picture.of(self.source[index])
        return release_examples.person_of(
            self.source[index // 2], release_examples.PEOPLE[index % 2]
        )

    def truth(self, subject: int, target: int) -> np.ndarray | None:
        """Returns the true result of a transfer between two pictures, None if it is unknown."""
        if not self.has_transfers or subject % 2 or target != subject + 1:
            return None
        return self.source[subject // 2][release_examples.TRUTH]


class Library:
    """Pictures of the model's size, by names such as 'test/3' and 'own/5f1c…'."""

    def __init__(self, groups: Mapping[str, Source]):
        self._groups = {name: Group(source) for name, source in groups.items() if len(source)}
        self._own: collections.OrderedDict[str, Picture] = collections.OrderedDict()

    def sizes(self) -> dict[str, int]:
        """Returns the number of pictures of each group but the user's own."""
        return {name: len(group) for name, group in self._groups.items()}

    def __getitem__(self, name: str) -> Picture:
        """Returns a picture; raises ValueError if there is none of this name."""
        group, _, place = name.partition("/")
        if group == OWN and place in self._own:
            self._own.move_to_end(place)
            return self._own[place]
        if (number := self._number(name)) is not None:
            return self._groups[group][number]
        raise ValueError(f"there is no picture {name[:40]!r} any more: choose or drop it again")

    def _number(self, name: str) -> int | None:
        """Returns the place of a picture in its group, None if there is none."""
        group, _, place = name.partition("/")
        if group not in self._groups or not (place.isascii() and place.isdigit()):
            return None
        return int(place) if int(place) < len(self._groups[group]) else None

    def add(self, picture: Picture) -> str:
        """Keeps a picture of the user's, of the model's size; returns its name."""
        place = digest(picture)
        self._own[place] = picture
        while len(self._own) > MOST_OWN:
            self._own.popitem(last=False)
        return f"{OWN}/{place}"

    def truth(self, subject: str, target: str) -> np.ndarray | None:
        """Returns the true result of a transfer, None if it is unknown."""
        group, first, second = (
            subject.partition("/")[0],
            self._number(subject),
            self._number(target),
        )
        if first is None or second is None or group != target.partition("/")[0]:
            return None
        return self._groups[group].truth(first, second)


def digest(picture: Picture) -> str:
    """Returns a digest of a picture."""
    content = hashlib.sha256(np.ascontiguousarray(picture.image).tobytes())
    content.update(np.ascontiguousarray(picture.labels).tobytes())
    return content.hexdigest()[:24]
