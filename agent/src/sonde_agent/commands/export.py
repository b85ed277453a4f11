"""`sonde-agent export`: local history to a file."""

import argparse
import json
import sys
import time

from sonde_agent import config, export
from sonde_agent.commands.output import say
from sonde_agent.spool import history
from sonde_proto.units import parse_duration

OK, USAGE = 0, 2


def run(args: argparse.Namespace) -> int:
    """Write what is kept here."""
    since_us = 0
    if args.since:
        try:
            since_us = round((time.time() - parse_duration(args.since)) * 1e6)
        except ValueError as error:
            sys.stderr.write(f"sonde-agent: --since: {error}\n")
            return USAGE
    settings = config.load(config.find(args.config))
    count = export.export(history.kept(config.spool_path(settings), since_us=since_us), args.to)
    say(json.dumps({"file": str(args.to), "rows": count}) if args.json else f"{args.to}: {count} results")
    return OK
