"""Commands about language models: `valuegym values`, and what `valuegym convert` does with a model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from valuegym.leaderboards.cli.arguments import add_command, positive
from valuegym.leaderboards.records.record import write_atomically

__all__ = ["add_commands", "convert_model"]


def add_commands(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    sub = add_command(
        commands,
        "values",
        _values,
        "measure the values of a language model, and their change from a base model",
        "valuegym values my-model",
        "valuegym values my-model --base base-model --plot values.svg",
        "valuegym values model.gguf --data FOLDER --json",
    )
    sub.add_argument("model", help="folder with safetensors, GGUF file, or with --revision an id on the hub")
    sub.add_argument("--base", metavar="MODEL", help="model that it was made from: also show the paired change")
    sub.add_argument("--revision", metavar="COMMIT", help="of a model on the hub, which is then asked for it")
    sub.add_argument("--base-revision", metavar="COMMIT", help="the same for the base")
    sub.add_argument("--data", metavar="FOLDER", help="folder with the published items (default: generated ones)")
    sub.add_argument("--each", type=positive, default=20, metavar="N", help="generated items of each value (20)")
    sub.add_argument("--form", choices=("plain", "letter", "repeat"), default="plain", help="of the questions (plain)")
    sub.add_argument(
        "--measure", choices=("log_odds", "probability"), default="log_odds", help="scale of the values (log_odds)"
    )
    sub.add_argument("--batch", type=positive, default=8, metavar="N", help="texts read at a time (8)")
    sub.add_argument("--device", default="cpu", help="in torch's words (cpu)")
    sub.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of the weights")
    sub.add_argument("--plot", metavar="FILE", help="write a drawing as SVG, too")
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _values(args: argparse.Namespace) -> None:
    from valuegym.agents.language import value_report
    from valuegym.leaderboards.verification import answer_cache

    found = value_report.measure(
        args.model,
        args.base,
        data=args.data,
        each=args.each,
        form=args.form,
        measure=args.measure,
        base_revision=args.base_revision,
        revision=args.revision,
        batch=args.batch,
        device=args.device,
        dtype=args.dtype,
        progress=True,
        cache=answer_cache,
    )
    print(json.dumps(value_report.as_json(found), indent=1) if args.json else value_report.render(found))
    if args.plot:
        from valuegym.leaderboards.site.values import draw

        write_atomically(Path(args.plot), draw(found))


def convert_model(source: str, output: str) -> str:
    """Write a GGUF model as a folder of safetensors; returns a sentence.

    Raises:
        OSError, ValueError, ImportError: as `model_files.convert`.
    """
    from valuegym.agents.language import model_files

    done = model_files.convert(source, output)
    return (
        f"converted  {source}: {done.parameters:,} parameters in {done.folder}; log-probabilities of the same texts "
        f"differ by at most {done.difference:.1g}"
    )
