"""What a studio does with its model, without HTTP: pictures in, pictures out.

Methods are called one at a time. A ValueError is for the user to read.
"""

import collections
import contextlib
import io
import json
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from scam_jax import files, images
from scam_jax.evaluation import metrics
from scam_jax.examples import Picture
from scam_jax.inference import attention_maps, label_files, recipe, recipe_file
from scam_jax.inference.decoding import printable
from scam_jax.inference.model import TrainedModel
from scam_jax.inference.recipe import TARGET, Recipe
from scam_jax.models.layers.latents import Latents
from scam_jax.studio import maps
from scam_jax.studio.library import Library, digest

# Pictures whose latents are kept, and frames of a loop.
MOST_LATENTS, MOST_FRAMES = 256, 96
LOOPS = {"gif": "GIF", "webp": "WEBP"}
FRAMES_PER_SECOND = 20
# What a studio saves of a choice.
SAVED = ("picture.png", "labels.png", "recipe.json")


class Desk:
    """A model, its pictures, and the folder for what the user saves."""

    def __init__(self, model: TrainedModel, library: Library, folder: pathlib.Path):
        self.model, self.library, self.folder = model, library, folder
        self._latents: collections.OrderedDict[str, Latents] = collections.OrderedDict()
        self._saved: list[tuple[Recipe, np.ndarray]] = []

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the model's images."""
        return self.model.config.data.height, self.model.config.data.width

    def about(self) -> dict[str, Any]:
        """Returns what the page shows of the model."""
        data = self.model.config.data
        names = [*self.model.label_names] or [f"label {i}" for i in range(data.num_labels)]
        colors = images.palette(data.num_labels).tolist()
        return {
            "family": self.model.config.model.family,
            "step": self.model.step,
            "height": data.height,
            "width": data.width,
            "labels": [{"name": n, "color": c} for n, c in zip(names, colors, strict=True)],
            "groups": self.library.sizes(),
            "has_parser": self.model.parser is not None,
            "has_attention": attention_maps.has_attention(self.model),
        }

    def warm_up(self, tell: Callable[[str], None]) -> None:
        """Compiles the programs of a transfer; `tell` hears of each."""
        blank = np.zeros((*self.size, 3), np.uint8)
        picture = Picture(blank, np.zeros(self.size, np.uint8))
        tell("the encoder (1 of 4)")
        encoded = recipe.encoded(self.model, picture)
        tell("the generator (2 of 4)")
        np.asarray(self.model.generate(picture.labels[None], encoded))
        for number, names in enumerate((("subject",), ("subject", "third")), 3):
            tell(f"blends of {len(names) + 1} people ({number} of 4)")
            people = {TARGET: picture, **dict.fromkeys(names, picture)}
            givers = {0: dict.fromkeys(names, 1 / len(names))}
            recipe.latents(self.model, Recipe(people, givers), self._encode)

    # Pictures

    def add(self, name: str, photo: bytes, labels: bytes | None) -> dict[str, Any]:
        """Keeps a photo that the user brings, with its label map or the parser's.

        Args:
          name: name of the photo's file.
          photo: content of the file.
          labels: content of its label map, or None.

        Raises:
          ValueError: a file cannot be read, or there is no parser.
        """
        if labels is None and self.model.parser is None:
            raise ValueError(
                "this model has no parser to draw a label map: drop the photo together with its "
                "label map, NAME.jpg and NAME_labels.png"
            )
        with tempfile.TemporaryDirectory(prefix="scam_jax_upload") as place:
            given = [pathlib.Path(place, _file_name(name)), pathlib.Path(place, "label map")]
            given[0].write_bytes(photo)
            if labels is not None:
                given[1].write_bytes(labels)
            try:
                picture = self.model.read(given[0], None if labels is None else given[1])
            except ValueError as error:
                raise ValueError(str(error).replace(f"{place}/", "")) from error
        return {"name": self.library.add(picture), "parsed": labels is None}

    # Choices

    def recipe_of(self, asked: Mapping[str, Any], labels: np.ndarray | None) -> Recipe:
        """Returns the recipe of what the page asks for.

        Args:
          asked: `pictures`, names in the library by role; `givers` and `absent` as in recipe files.
          labels: the painted label map, or None for the target's.
        """
        names = asked.get("pictures")
        if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
            raise ValueError("pictures: names by role are needed")
        pictures = {role: self.library[name] for role, name in names.items()}
        return recipe_file.assemble(asked, pictures, labels, self.model)

    def generate(
        self, asked: Mapping[str, Any], labels: np.ndarray | None
    ) -> tuple[dict[str, Any], np.ndarray]:
        """Generates the image of a choice, and says what is to be said about it."""
        begun = time.perf_counter()
        chosen = self.recipe_of(asked, labels)
        image = recipe.make(self.model, chosen, self._encode)
        truth = self._truth(asked) if self._is_transfer(chosen) else None
        said: dict[str, Any] = {
            "remarks": recipe.remarks(self.model, chosen),
            "milliseconds": round(1000 * (time.perf_counter() - begun)),
        }
        if truth is not None:
            error = np.square(image.astype(np.float64) - truth).mean()
            said["psnr"] = round(metrics.decibels(float(error), 255.0), 2)
        return said, image

    def truth(self, asked: Mapping[str, Any]) -> np.ndarray:
        """Returns the true result of a transfer; raises ValueError if it is unknown."""
        truth = self._truth(asked)
        if truth is None:
            raise ValueError("the true result of this transfer is not known")
        return truth

    def _truth(self, asked: Mapping[str, Any]) -> np.ndarray | None:
        names = asked["pictures"]
        return self.library.truth(names.get("subject", ""), names[TARGET])

    def _is_transfer(self, chosen: Recipe) -> bool:
        """Returns whether a choice is the transfer whose true result may be known."""
        labels = range(1, self.model.config.data.num_labels)
        all_of_it = {label: {"subject": 1.0} for label in labels}
        return chosen.labels is None and dict(chosen.givers) == all_of_it

    def loop(
        self, asked: Mapping[str, Any], labels: np.ndarray | None, count: int, form: str
    ) -> bytes:
        """Returns a loop from the target to a choice and back, as an animated picture.

        Args:
          asked: see `recipe_of`; `label` may name the only label that changes.
          labels: see `recipe_of`.
          count: number of frames.
          form: 'gif' or 'webp'.
        """
        if not 2 <= count <= MOST_FRAMES or form not in LOOPS:
            raise ValueError(f"a loop has 2 … {MOST_FRAMES} frames and is gif or webp")
        chosen = self.recipe_of(asked, labels)
        frames = recipe.loop(self.model, chosen, count, asked.get("label"), self._encode)
        first, *others = [Image.fromarray(frame) for frame in frames]
        stream = io.BytesIO()
        options = {"save_all": True, "append_images": others, "loop": 0, "lossless": True}
        first.save(stream, LOOPS[form], duration=1000 // FRAMES_PER_SECOND, **options)
        return stream.getvalue()

    def attention(
        self, asked: Mapping[str, Any], labels: np.ndarray | None
    ) -> tuple[dict[str, Any], bytes]:
        """Returns attention maps of a choice, see `maps.attention`.

        Args:
          asked: see `recipe_of`; `modulation` and `block` may name the maps to return.
          labels: see `recipe_of`.
        """
        chosen = self.recipe_of(asked, labels)
        names = asked.get("modulation"), asked.get("block")
        return maps.attention(self.model, chosen, self._encode, *names)

    # Files

    def save(self, asked: Mapping[str, Any], labels: np.ndarray | None) -> dict[str, Any]:
        """Saves a choice in a folder of its own: picture, label map and recipe."""
        chosen = self.recipe_of(asked, labels)
        image = recipe.make(self.model, chosen, self._encode)
        labels_file = label_files.encoded(chosen.label_map, self.model.config.data)
        folder = self._new_folder()
        picture, label_map, values = (folder / name for name in SAVED)
        images.save(picture, image)
        files.write(label_map, labels_file)
        files.write_json(values, recipe_file.to_json(chosen, self.model.label_names))
        self._saved.append((chosen, image))
        return {"folder": folder.name, "place": str(folder), "files": SAVED}

    def _new_folder(self) -> pathlib.Path:
        start = time.strftime("%Y-%m-%d_%H-%M-%S")
        for number in range(1000):
            folder = self.folder / (f"{start}_{number}" if number else start)
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=True)
                return folder
        raise ValueError(f"{self.folder} has too many folders of this second: try again")

    def saved_file(self, folder: str, name: str) -> pathlib.Path:
        """Returns a file that was saved; raises ValueError if there is none."""
        known = {f.name: f for f in self.folder.iterdir()} if self.folder.is_dir() else {}
        if folder not in known or name not in SAVED or not (known[folder] / name).is_file():
            raise ValueError(f"{printable(folder)}/{printable(name)} was not saved here")
        return known[folder] / name

    def load(self, content: bytes) -> dict[str, Any]:
        """Takes the pictures of a recipe file into the library; returns what the page asks for.

        Raises:
          ValueError: it is no recipe of this model that holds its pictures.
        """
        try:
            values = json.loads(content)
        except ValueError as error:
            raise ValueError(f"the recipe is not JSON ({error})") from error
        if not isinstance(values, dict):
            raise ValueError("the recipe is not JSON with {…}")
        chosen = recipe_file.from_json(values, self.model)
        return {
            "pictures": {role: self.library.add(p) for role, p in chosen.pictures.items()},
            "givers": chosen.givers,
            "absent": chosen.absent,
            "labels": None if chosen.labels is None else chosen.labels.ravel().tolist(),
        }

    def sheet(self) -> np.ndarray:
        """Draws what was saved since the start, one row each: pictures, label map, result."""
        if not self._saved:
            raise ValueError("nothing was saved yet: save a picture first")
        num_labels = self.model.config.data.num_labels
        rows = [
            [
                *(chosen.pictures[role].image for role in sorted(chosen.pictures)),
                images.colorize(chosen.label_map, num_labels),
                image,
            ]
            for chosen, image in self._saved
        ]
        return images.grid(rows)

    def _encode(self, picture: Picture) -> Latents:
        name = digest(picture)
        if name not in self._latents:
            self._latents[name] = recipe.encoded(self.model, picture)
            while len(self._latents) > MOST_LATENTS:
                self._latents.popitem(last=False)
        self._latents.move_to_end(name)
        return self._latents[name]


def _file_name(name: str) -> str:
    """Returns the name of a file without its folders, as a name that any file may have."""
    last = printable(name.replace("\\", "/").rpartition("/")[2])[-80:]
    return last.strip(". ") or "photo"


def png(image: np.ndarray) -> bytes:
    """Encodes an image `uint8 [H, W, 3]` quickly."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
