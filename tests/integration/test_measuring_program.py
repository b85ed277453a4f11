"""A measuring program of someone else's: it does not outlive the agent."""

import subprocess
import sys
from pathlib import Path

from support.programs import eventually

RUN = """
import asyncio
from sonde_agent.checks.throughput.program import run_bounded
asyncio.run(run_bounded(["sleep", "60"], "", 10**12))
"""


def said(path: str) -> str:
    """A file of /proc, "" where the process is gone."""
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_program_ends_with_the_agent_that_is_killed() -> None:
    """An agent that is killed takes what it measures with along: nothing goes on to load the path."""
    with subprocess.Popen([sys.executable, "-c", RUN]) as agent:
        children = f"/proc/{agent.pid}/task/{agent.pid}/children"
        try:
            eventually(
                lambda: any(said(f"/proc/{pid}/comm") == "sleep\n" for pid in said(children).split()),
                20,
                "it does not start",
            )
            (program,) = said(children).split()
        finally:
            agent.kill()
    eventually(lambda: said(f"/proc/{program}/stat").rpartition(") ")[2][:1] in ("", "Z"), 2, "it runs on")
