"""`python -m fuzz [TARGET] [seconds]`: fuzz one target, or each in turn, with atheris."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--one"]:
        return _fuzz(arguments[1], arguments[2])
    from .targets import TARGETS

    names = [a for a in arguments if not a.isdigit()] or list(TARGETS)
    seconds = next((a for a in arguments if a.isdigit()), "60")
    for name in names:
        print(f"fuzzing {name} for {seconds} s", flush=True)
        # A process each: the fuzzer ends its own when it is done.
        done = subprocess.run([sys.executable, "-m", "fuzz", "--one", name, seconds], check=False)
        if done.returncode:
            print(f"{name}: found something, see above", file=sys.stderr)
            return 1
    return 0


def _fuzz(name: str, seconds: str) -> int:
    import atheris

    with atheris.instrument_imports(include=["tabbyapi"]):
        from .targets import TARGETS
    # What it finds on the way goes into a folder of its own: the seeds stay few.
    with tempfile.TemporaryDirectory() as found:
        options = [f"-max_total_time={seconds}", "-artifact_prefix=fuzz-", found]
        atheris.Setup([sys.argv[0], *options, str(CORPUS / name)], TARGETS[name])
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
