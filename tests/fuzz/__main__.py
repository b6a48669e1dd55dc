"""Fuzz one target with coverage feedback; needs the extra `fuzz`.

    python -m tests.fuzz TARGET [--seconds S] [--corpus FOLDER]

Begins with the good inputs and the corpus that is kept; what reaches new code is added to FOLDER.
A fault ends it with the input in a file `crash-...`: mend the parser, and keep the file in
`tests/fuzz/corpus/TARGET`.
"""

import argparse
import sys
import tempfile
from hashlib import sha1
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["server"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.seeds import seeds

KEPT = Path(__file__).parent / "corpus"


def main() -> None:
    """Fuzz until the time is over, or a fault is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args()
    found = options.corpus or Path(tempfile.mkdtemp(prefix="fuzz-"))
    found.mkdir(parents=True, exist_ok=True)
    for seed in seeds(options.target):
        (found / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    arguments = [
        sys.argv[0],
        str(found),
        *([str(KEPT / options.target)] if (KEPT / options.target).is_dir() else []),
        f"-max_total_time={options.seconds}",
        "-max_len=65536",
        "-timeout=10",
        "-rss_limit_mb=1024",
        f"-artifact_prefix={found.parent}/crash-{options.target}-",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, TARGETS[options.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
