"""Thousands of damaged DICOM films: each must end as a film or as a documented failure, none may end the process.

`python -m benchmarks.film_fuzz [--mutants 5000] [--seed 20260101]` mutates small films in many transfer syntaxes,
reads each mutant in this very process, and prints what became of them by syntax: films, failures by kind, and whatever else was
raised, which is a bug. A signal would end the run. It also prints the slowest mutant and the peak of memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from benchmarks.film_mutants import mutant
from benchmarks.markdown_table import markdown_table
from tests.data_layer.made_dicom_films import SYNTAXES, film, film_pixels, written
from xct_components.data.film.one_patient import require_one_patient
from xct_components.data.film.pixels import film_from_file
from xct_components.failures import Failure, first_line

#: Depths that each syntax is tried with.
BITS = {"JPEG baseline": 8, "JPEG extended": 12, "JPEG lossless": 16, "RLE": 16, "JPEG 2000": 15}


def originals(folder: Path) -> dict[str, bytes]:
    """One small film in each transfer syntax."""
    made = {}
    for syntax in SYNTAXES:
        bits = BITS.get(syntax, 12)
        tags = {"WindowCenter": "2000", "WindowWidth": "4000", "ViewPosition": "PA", "PatientOrientation": ["L", "F"]}
        plain = film(film_pixels(bits), bits, modality="DX", photometric="MONOCHROME1", **tags)
        made[syntax] = written(folder / "film.dcm", plain, syntax).read_bytes()
    return made


def outcome(path: Path) -> str:
    """What became of a file: "film", a kind of failure, or "BUG" and what was raised."""
    try:
        require_one_patient(path, path)
        film_from_file(path)
    except Failure as failure:
        return type(failure).__name__ if "\n" not in str(failure) else "BUG: a failure of several lines"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"BUG: {type(error).__name__}: {first_line(error)}"
    return "film"


def fuzzed(mutants: int, seed: int) -> tuple[dict[str, Counter[str]], float]:
    """Outcomes by syntax, and the seconds of the slowest mutant."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    slowest_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        contents = originals(Path(folder))
        path = Path(folder) / "film.dcm"
        for number in range(mutants):
            syntax = list(contents)[number % len(contents)]
            path.write_bytes(mutant(contents[syntax], seed + number))
            start = time.perf_counter()
            found = outcome(path)
            slowest_s = max(slowest_s, time.perf_counter() - start)
            counts[syntax][found] += 1
            if (number + 1) % 200 == 0:
                print(f"{number + 1} of {mutants}", file=sys.stderr, flush=True)
            if found.startswith("BUG"):
                print(f"seed {seed + number}, {syntax}: {found}", flush=True)
    return counts, slowest_s


def main(arguments: list[str]) -> int:
    """Fuzz, print the counts, and return how many bugs were found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.film_fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("--mutants", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--memory_mib", type=int, default=3000, help="address space of this process")
    options = parser.parse_args(arguments)
    _limit_memory(options.memory_mib << 20)
    counts, slowest_s = fuzzed(options.mutants, options.seed)
    kinds = sorted({kind for counter in counts.values() for kind in counter})
    lines = [[syntax, *(counter[kind] for kind in kinds)] for syntax, counter in counts.items()]
    print(markdown_table(["mutants of", *kinds], [*lines, ["all", *(sum(c[kind] for c in counts.values()) for kind in kinds)]]))
    print(f"\nslowest {slowest_s:.1f} s, memory at most {_peak_mib()} MiB, each child at most {_peak_mib(children=True)} MiB")
    return min(sum(number for c in counts.values() for kind, number in c.items() if kind.startswith("BUG")), 99)


def _limit_memory(limit_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def _peak_mib(*, children: bool = False) -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
