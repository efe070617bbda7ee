"""Print the tables of docs/performance.md, from what the benchmarks have written.

python benchmarks/tables.py
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
NAMES = ("pretrain", "finetune", "predict", "generate", "prepare", "memory", "scaling")


def main() -> None:
    """Print a table a benchmark that has results."""
    for name in NAMES:
        path = RESULTS / f"{name}.json"
        if path.is_file():
            print(f"### {name}\n\n{markdown(json.loads(path.read_text(encoding='utf-8')))}\n")


def markdown(results: Mapping[str, Any]) -> str:
    """Return a file's rows as a table for each machine that they were measured on, which is said under it."""
    machines = dict.fromkeys(row["machine"] for row in results["rows"])
    return "\n\n".join(_table([row for row in results["rows"] if row["machine"] == each]) for each in machines)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| work | peer | ours | peer's | unit | ours / peer | spread | of peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["settings"].get("ratios", (None, None))
        spread = "" if low is None else f"{low:.2f} to {high:.2f}"
        share = "" if row["peak_share"] is None else f"{row['peak_share']:.0%}"
        numbers = (
            f"{row['ours']:,.4g} | {row['theirs']:,.4g} | {row['unit']} | **{row['ratio']:.2f}** | {spread} | {share}"
        )
        lines.append(f"| `{row['work']}` | {row['peer']} | {numbers} |")
    versions = ", ".join(f"{name} {version}" for name, version in rows[-1]["versions"].items())
    return "\n".join([*lines, "", f"Measured on: {rows[-1]['machine']}; {versions}."])


if __name__ == "__main__":
    main()
