"""`python -m support.check KIND …`: what `sonde-agent check` does, in a process apart."""

import argparse
import sys

from sonde_agent.checks import byhand

parser = argparse.ArgumentParser()
byhand.add_parsers(parser.add_subparsers(required=True))
sys.exit(byhand.run_by_hand(parser.parse_args()))
