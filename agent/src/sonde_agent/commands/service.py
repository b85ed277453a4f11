"""`sonde-agent run`: the service, its template, or a look at its configuration."""

import argparse

from sonde_agent.commands.output import say


def run(args: argparse.Namespace) -> int:
    """Be the agent until it is told to stop, or say what its configuration is, or may be."""
    if args.template:
        from importlib import resources  # noqa: PLC0415

        template = resources.files("sonde_agent").joinpath("agent.template.toml")
        say(template.read_text(encoding="utf-8").rstrip("\n"))
        return 0
    from sonde_agent import config, log  # noqa: PLC0415

    path = config.find(args.config)
    settings = config.load(path)
    if args.check_config:
        say(f"{path}: no mistake")
        return 0
    import asyncio  # noqa: PLC0415

    log.configure()
    from sonde_agent import app, memory  # noqa: PLC0415 -- after the configuration: its mistakes come at once

    memory.keep_one_arena()
    asyncio.run(app.serve(settings, path))
    return 0
