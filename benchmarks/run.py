#!/usr/bin/env python3
"""Run benchmarks and write what they measured to benchmarks/results.json and benchmarks/RESULTS.md.

usage: python benchmarks/run.py [--only NAME,...] [--list]

Every other script in this folder that holds ROWS, a tuple or dict literal of names, is
a benchmark. It takes --only NAME,... for some of them, and prints one JSON object at its end:

    {NAME: {"value", "unit", "reference", "ratio", "samples", "spread", "command", "note"}}

Rows that are not run keep their last figure and commit. A script that fails leaves its rows as they were, and
the exit code says so.
"""

import argparse
import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results.json"
REPORT = HERE / "RESULTS.md"
KEYS = ("value", "unit", "reference", "ratio", "samples", "spread", "command", "note")

# What DESIGN asks of each row: on the ratio to the reference of the same run, or on the value itself.
TARGETS: dict[str, tuple[str, str, float]] = {
    "ping_error_p99_idle_us": ("value", "<=", 1.0),
    "ping_error_p99_loaded_us": ("value", "<=", 1.0),
    "ping_cpu_vs_fping": ("ratio", "<=", 0.45),
    "ping_echoes_per_core": ("value", ">=", 60_000),
    "https_cpu_vs_blackbox": ("ratio", "<=", 0.9),
    "throughput_down_vs_iperf3": ("ratio", ">=", 2.0),
    "throughput_up_vs_iperf3": ("ratio", ">=", 1.2),
    "ingest_vs_copy": ("ratio", ">=", 0.8),
    "ingest_rows_per_s": ("value", ">=", 100_000),
    "spool_to_query_p99_s": ("value", "<=", 1.0),
    "agent_rss_mb": ("value", "<=", 48.0),
    "collector_10k_rss_mb": ("value", "<=", 1200.0),
    "ranking_ms": ("value", "<=", 10.0),
    "top10_ms": ("value", "<=", 10.0),
    "country_ranking_ms": ("value", "<=", 10.0),
    "trend_30d_ms": ("value", "<=", 20.0),
    "trend_2y_ms": ("value", "<=", 100.0),
    "dirty_hour_ms": ("value", "<=", 10.0),
    "archive_vs_hot_bytes": ("ratio", "<=", 0.10),
    "direct_rtt_excess_us": ("value", "<=", 200.0),
    **{
        f"tunnel_{what}_{way}": (key, sign, bound)
        for way in ("wireguard_go", "openvpn_udp", "openvpn_tcp", "ikev2")
        for what, key, sign, bound in (
            ("rtt_excess_us", "value", "<=", 200.0),
            ("handshake_excess_ms", "value", "<=", 3.0),
            ("throughput_share", "value", "= 1 +-", 0.05),
        )
    },
}


def rows(script: Path) -> tuple[str, ...]:
    """Return the names in a script's ROWS; () when it has none and so is no benchmark."""
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "ROWS" for t in node.targets
        ):
            names = node.value.keys if isinstance(node.value, ast.Dict) else getattr(node.value, "elts", [])
            return tuple(str(name.value) for name in names if isinstance(name, ast.Constant))
    return ()


def commit() -> str:
    """Return the commit that is measured, with a + when the tree (our results apart) differs from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-c", "safe.directory=*", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    ours = [f":!{path.relative_to(ROOT)}" for path in (RESULTS, REPORT)]
    changed = git("status", "--porcelain", "--", ".", *ours)
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("+" if changed else "")


def measure(script: Path, only: list[str]) -> dict[str, dict[str, Any]] | None:
    """Run one script and return its rows; None when it failed (it has said why on stderr)."""
    done = subprocess.run(
        [sys.executable, script, "--only", ",".join(only)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        got: dict[str, dict[str, Any]] = json.loads(re.split(r"^(?=\{)", done.stdout, flags=re.MULTILINE)[-1])
        odd = [f"{name} has no {key}" for name, row in got.items() for key in KEYS if key not in row]
    except (ValueError, AttributeError):
        odd = ["it ends with no JSON object of rows"]
    if done.returncode or odd:
        why = f"exit {done.returncode}" if done.returncode else "; ".join(odd)
        print(f"{script.name} failed: {why}", file=sys.stderr)
        return None
    return got


def reached(name: str, row: dict[str, Any]) -> str:
    """Return "yes", "no (asked: ...)" or "" for a row without a target."""
    if name not in TARGETS:
        return ""
    key, sign, bound = TARGETS[name]
    if row[key] is None:
        return f"not measured (asked: {key} {sign} {bound:g})"
    if sign == "= 1 +-":
        good = abs(row[key] - 1) <= bound
    else:
        good = row[key] <= bound if sign == "<=" else row[key] >= bound
    return "yes" if good else f"no (asked: {key} {sign} {bound:g})"


def report(results: dict[str, dict[str, Any]]) -> str:
    """Return RESULTS.md."""
    lines = [
        "# Measured figures",
        "",
        "Written by `make bench`; every figure stands with the command that made it. Ratios are to the",
        "reference of the same run on the same machine: compare ratios, not values, between machines.",
        "",
        "| figure | value | reference | ratio | reached | samples | spread |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(results.items()):
        value = f"{number(row['value'])} {row['unit']}"
        cells = (name, value, number(row["reference"]), number(row["ratio"]), reached(name, row))
        lines.append("| " + " | ".join((*cells, number(row["samples"]), number(row["spread"]))) + " |")
    lines += ["", "## How each was made", ""]
    for name, row in sorted(results.items()):
        lines += [f"**{name}** (commit {row['commit']}): `{row['command']}`", "", str(row["note"]), ""]
    return "\n".join(lines)


def number(value: object) -> str:
    """Return a figure for the table: four significant digits, or text as it is, or a dash."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key} {number(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return " to ".join(number(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Return the exit code: 0 when every script that was asked for gave its rows."""
    parser = argparse.ArgumentParser(description="Run benchmarks; write results.json and RESULTS.md.")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these rows alone")
    parser.add_argument("--list", action="store_true", help="print the names of all rows and end")
    given = parser.parse_args()
    scripts = {
        script: names
        for script in sorted(HERE.glob("*.py"))
        if script.name != "run.py" and (names := rows(script))
    }
    known = [name for names in scripts.values() for name in names]
    if given.list:
        print("\n".join(known))
        return 0
    wanted = [name for name in given.only.split(",") if name] or known
    if unknown := [name for name in wanted if name not in known]:
        print(f"no such row: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    results: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    failed = False
    measured = commit()
    for script, names in scripts.items():
        only = [name for name in names if name in wanted]
        if not only:
            continue
        print(f"{script.name}: {', '.join(only)}", flush=True)
        got = measure(script, only)
        if got is None:
            failed = True
            continue
        for name, row in got.items():
            results[name] = {key: row[key] for key in KEYS[:-1]} | {"commit": measured, "note": row["note"]}
            print(f"  {name}: {number(row['value'])} {row['unit']}, {reached(name, row) or 'no target'}")
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        REPORT.write_text(report(results))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
