"""`python -m demo_model`: make, measure and look at the demo model."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
WORK = HERE / "work"
MODEL = HERE.parent / "src" / "tabbyapi" / "server" / "data" / "demo.gguf"


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo_model", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sample = commands.add_parser("sample", help="print training conversations")
    sample.add_argument("--kind", help="chat, recall, rules, tools, extraction or long")
    sample.add_argument("--count", type=int, default=3)
    sample.add_argument("--seed", type=int, default=0)
    trainer = commands.add_parser("train", help="train, or go on training")
    trainer.add_argument("--minutes", type=float, default=150.0, help="in all (default: 150)")
    trainer.add_argument("--device", default="auto", help="cpu, cuda or auto")
    trainer.add_argument("--threads", type=int, default=2)
    exporter = commands.add_parser("export", help="write the GGUF from the last checkpoint")
    evaluator = commands.add_parser("evaluate", help="measure a GGUF on what was held back")
    evaluator.add_argument("--scale", type=int, default=300, help="cases of a kind")
    evaluator.add_argument("--seed", type=int, default=0)
    evaluator.add_argument("--show", type=int, default=0, help="wrong answers to show of each kind")
    compare = commands.add_parser("compare", help="compare the GGUF with the checkpoint, as text")
    compare.add_argument("--count", type=int, default=100)
    for command in (exporter, evaluator, compare):
        command.add_argument("--model", type=Path, default=MODEL)
    for command in (trainer, exporter, compare):
        command.add_argument("--work", type=Path, default=WORK)
    options = parser.parse_args(arguments)
    # Threads that wait must not burn the cores of others; read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run = {
        "sample": _sample,
        "train": _train,
        "export": _export,
        "evaluate": _evaluate,
        "compare": _compare,
    }
    return run[options.command](options)


def _sample(options: argparse.Namespace) -> int:
    from .generator import conversation
    from .render import render

    for seed in range(options.seed, options.seed + options.count):
        talk = conversation(seed, kind=options.kind)
        print(f"--- {seed}, {talk.kind}\n{render(talk.messages, talk.tools)}")
    return 0


def _train(options: argparse.Namespace) -> int:
    import torch

    from .train import train

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"training on {device}; progress in {options.work / 'train.log'}")
    train(options.work, options.minutes, device=device, threads=options.threads)
    return 0


def _export(options: argparse.Namespace) -> int:
    from .export import restore, write
    from .tokenizer import load

    model = restore(options.work / "checkpoint.pt")
    options.model.parent.mkdir(parents=True, exist_ok=True)
    write(model, load(options.work / "tokenizer.json"), options.model)
    size = options.model.stat().st_size
    print(f"{options.model}: {model.parameters_count():,} parameters, {size:,} bytes")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from .evaluate import evaluate

    print(evaluate(options.model, scale=options.scale, seed=options.seed, show=options.show))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from .compare import compare

    same, tokens_equal = compare(options.work, options.model, options.count)
    print(f"same text at temperature 0: {same} of {options.count}")
    print(f"same tokens for the same text: {tokens_equal} of {options.count}")
    return 0 if same >= 0.95 * options.count and tokens_equal == options.count else 1


if __name__ == "__main__":
    sys.exit(main())
