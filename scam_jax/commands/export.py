"""Writes a release of a trained model: `main.py --mode=export --workdir=RUN --output=DIR`."""

import pathlib

import jax
import jinja2
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.commands.feed import Feed, OpenFeed
from scam_jax.devices import sharding
from scam_jax.evaluation.results import FILE, Evaluation
from scam_jax.examples import Example
from scam_jax.inference import from_run, release
from scam_jax.inference.model import Checkpoint
from scam_jax.inference.release import Release
from scam_jax.runs import run_folder

# What the start of a run records and a release tells.
_FACTS = ("training_examples", "commit", "versions")


def export(
    config: ConfigDict,
    workdir: epath.Path,
    output: pathlib.Path,
    open_feed: OpenFeed,
    checkpoint: Checkpoint = "newest",
    dtype: str = "float32",
    licence: str = "",
    examples: int = 0,
) -> None:
    """Writes a release, see `inference.release`.

    Args:
      config: the run's config.
      workdir: the run's folder.
      output: the folder to write; an older release in it is replaced.
      open_feed: opens the run's data.
      checkpoint: see `TrainedModel.load`.
      dtype: type of the weights, 'float32' or 'bfloat16'.
      licence: licence of the weights, as the Hugging Face hub names it; empty if none is given.
      examples: number of examples of the test split to put into the release.

    Raises:
      FileNotFoundError: there is no trained model.
      ValueError: `output` holds something else, or `workdir` is a release.
    """
    release.check_output(output)
    if release.is_release(workdir):
        raise ValueError(f"--workdir={workdir} is a release already: give the run")
    trained = from_run.load(workdir, checkpoint)._replace(parser=from_run.load_parser(workdir))
    shown = _examples(open_feed(config, workdir), examples) if examples else []
    if jax.process_index() == 0:
        start = run_folder.last_start(workdir)
        facts = {name: start.get(name) for name in _FACTS} | {"licence": licence}
        card = _card(trained, workdir, facts)
        release.write(output, models.build(trained.config), trained, facts, card, dtype, shown)
        size = sum(f.stat().st_size for f in output.rglob("*") if f.is_file())
        print(
            f"wrote {output} ({size / 1e6:.1f} MB)\nNext: hf upload USER/NAME {output}, or "
            f"python main.py --mode=transfer --workdir={output} --subject=… --target=… --output=…"
        )
    sharding.wait_for_all("release written")


def _examples(feed: Feed, count: int) -> list[Example]:
    source = feed.transfers("test") or feed.split("test")
    return [source[i] for i in range(min(count, len(source)))]


def _card(trained: Release, workdir: epath.Path, facts: dict) -> str:
    evaluations = []
    for split in ("test", "validation"):
        folder = run_folder.evaluation(workdir, split)
        if not (folder / FILE).is_file():
            continue
        evaluations.append(Evaluation.load(folder))
        if evaluations[-1].step != trained.step:
            logging.warning(
                "the figures in %s are of step %d, the release is of step %d: the card says so",
                *(folder, evaluations[-1].step, trained.step),
            )
    if not evaluations:
        logging.warning("the card has no figures: run --mode=eval --workdir=%s first", workdir)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("model_card.md.jinja").render(
        config=trained.config,
        step=trained.step,
        label_names=trained.label_names or range(trained.config.data.num_labels),
        evaluations=evaluations,
        has_parser=trained.parser is not None,
        **facts,
    )
