"""Runs the whole campaign and writes its table: `make chaos ROUNDS=200`."""

import argparse
import datetime
import os
import pathlib
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator

from helpers import environment

HEAD = "| experiment | rounds | outcomes |\n|---|---|---|\n"
ABOUT = """# Faults planted, and what came of them

`make chaos ROUNDS={rounds} MINUTES={minutes:g}` on {cores} cores, {date}. The toy run of
`tests/chaos/toy.py` trains 100 steps and saves every 5. A run that reaches its last step is
compared with an uninterrupted one: weights, optimizer states and averages by checksum, metrics by
the byte, and the best checkpoint by its step. A difference, a traceback, a hang or a second error
line ends the campaign.

"""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--rounds", type=int, default=20, help="faults of each experiment")
    parser.add_argument("--minutes", type=float, default=2, help="length of the soak")
    parser.add_argument("--mutations", type=int, default=2000, help="photos and label maps")
    parser.add_argument("--only", help="the only experiments, divided by commas")
    parser.add_argument("--output", type=pathlib.Path, help="the table, as Markdown")
    return parser.parse_args()


def experiments(
    arguments: argparse.Namespace, folder: pathlib.Path
) -> Iterator[tuple[str, str, Callable[[], tuple[int, Counter]]]]:
    """Yields name, description and function of each experiment."""
    # These import JAX, which needs the environment.
    from chaos import photos, runs, soak

    data, rounds = folder / "photos", arguments.rounds
    photos.write_folder(data)

    def campaign(fault: runs.Fault, processes: int = 1, place: pathlib.Path = folder):
        toy = runs.Toy(data, place, processes)
        return rounds, runs.campaign(toy, fault, rounds)

    def on_a_small_disk():
        with runs.small_disk(folder / "disk", megabytes=60) as disk:
            return campaign(runs.fill_disk, place=disk)

    def soaked():
        before, after = soak.soak(runs.Toy(data, folder), arguments.minutes)
        assert soak.is_level(before, after), (before, after)
        told = f"level: {before} in the second third, {after} in the last"
        return 1, Counter({told: 1})

    yield "kill", "SIGKILL at a random moment", lambda: campaign(runs.kill)
    yield (
        "damage",
        "SIGKILL, then a file of the newest checkpoint flipped, cut or removed",
        lambda: campaign(runs.kill_and_damage),
    )
    yield (
        "two",
        "two processes: SIGKILL for both, then a damaged file",
        lambda: campaign(runs.kill_and_damage, processes=2),
    )
    if os.geteuid() == 0:
        yield "disk", "the disk full from a random moment on", on_a_small_disk
    yield (
        "photos",
        "mutated photos and label maps, through reader, checker and transfer",
        lambda: (arguments.mutations, photos.campaign(folder / "mutated", arguments.mutations)),
    )
    yield "soak", f"a run of {arguments.minutes:g} minutes", soaked


def main() -> None:
    arguments = parse()
    chosen = arguments.only.split(",") if arguments.only else None
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        environment.set_up(str(folder / "compiled"))
        rows = []
        for name, told, run in experiments(arguments, folder):
            if chosen and name not in chosen:
                continue
            rounds, outcomes = run()
            found = "; ".join(f"{what}: {count}" for what, count in outcomes.most_common())
            rows.append(f"| {told} | {rounds} | {found} |\n")
            print(rows[-1], end="", flush=True)
    about = ABOUT.format(
        rounds=arguments.rounds,
        minutes=arguments.minutes,
        cores=os.cpu_count(),
        date=datetime.date.today().isoformat(),
    )
    if arguments.output:
        arguments.output.write_text(about + HEAD + "".join(rows), encoding="utf-8")
        print(f"wrote {arguments.output} ({platform.machine()})")


if __name__ == "__main__":
    sys.exit(main())
