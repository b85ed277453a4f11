"""`sonde-agent run`: the service, or its template."""

import argparse

from sonde_agent.commands.output import say


def run(args: argparse.Namespace) -> int:
    """Be the agent until it is told to stop, or print a configuration to begin with."""
    if args.template:
        from importlib import resources  # noqa: PLC0415

        template = resources.files("sonde_agent").joinpath("agent.template.toml")
        say(template.read_text(encoding="utf-8").rstrip("\n"))
        return 0
    import asyncio  # noqa: PLC0415

    from sonde_agent import config, log  # noqa: PLC0415

    path = config.find(args.config)
    settings = config.load(path)
    log.configure()
    from sonde_agent import app, memory  # noqa: PLC0415 -- after the configuration: its mistakes come at once

    memory.keep_one_arena()
    asyncio.run(app.serve(settings, path))
    return 0
