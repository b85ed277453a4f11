"""`sonde-agent doctor`: what this host lacks, and how to mend it."""

import argparse
import dataclasses

from sonde_agent import config, doctor
from sonde_agent.commands.output import say, say_json
from sonde_agent.findings import Finding
from sonde_proto.toml_config import ConfigError

OK, FAILED = 0, 1


def run(args: argparse.Namespace) -> int:
    """Tell every finding."""
    findings = []
    settings, path = None, None
    try:
        path = config.find(args.config)
        settings = config.load(path)
        findings.append(Finding("configuration", "ok", str(path)))
    except ConfigError as error:
        mend = "correct it; `sonde-agent run --template` prints one to begin with"
        findings += [Finding("configuration", "lacking", line, mend) for line in str(error).splitlines()]
    findings += doctor.examine(settings, path)
    if args.json:
        say_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            say(f"{finding.state:<8} {finding.name:<18} {finding.detail}")
            if finding.mend:
                say(f"{'':<27} -> {finding.mend}")
    return FAILED if any(finding.state == "lacking" for finding in findings) else OK
