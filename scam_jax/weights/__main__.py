"""Converts PyTorch weights. Only this conversion needs PyTorch.

  python -m scam_jax.weights frozen vgg19-dcbb9e9d.pth [--output=weights/vgg19.npz]
  python -m scam_jax.weights checkpoint MODEL.ckpt --config=configs/celeba.py --workdir=runs/authors

`frozen` converts the published file of a network that a loss or a metric needs. `checkpoint`
converts a checkpoint of the authors' system to a run that main.py can use.
"""

import argparse
import sys

from scam_jax import console
from scam_jax.runs import command_line, run_folder
from scam_jax.weights import convert


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the command line."""
    given = command_line.take_config(argv)
    parser = argparse.ArgumentParser(
        prog="python -m scam_jax.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    frozen = commands.add_parser("frozen", help="a network of a loss or a metric")
    frozen.add_argument("file", type=console.path, help="the PyTorch file, with its published name")
    frozen.add_argument("--output", type=console.path, help="weights/NAME.npz by default")
    checkpoint = commands.add_parser("checkpoint", help="a checkpoint of the authors' system")
    checkpoint.add_argument("file", type=console.path, help="the Lightning checkpoint")
    checkpoint.add_argument("--workdir", required=True, help="the run to write")
    return parser.parse_args(given.rest, argparse.Namespace(config=given.config))


def main(arguments: argparse.Namespace) -> None:
    """Runs the conversion."""
    with console.ended_by_one_line("python -m scam_jax.weights"):
        if arguments.command == "frozen":
            print(f"wrote {convert.convert_frozen_file(arguments.file, arguments.output)}")
        elif arguments.config is None:
            raise ValueError("--config=configs/NAME.py is needed: it describes the model")
        else:
            workdir = run_folder.place_or_bucket("--workdir", arguments.workdir)
            convert.convert_checkpoint_file(arguments.file, arguments.config, workdir)
            print(
                f"wrote {workdir}\nNext: python main.py --mode=transfer --workdir={workdir} "
                "--subject=… --target=… --output=…"
            )


if __name__ == "__main__":
    main(parse(sys.argv))
