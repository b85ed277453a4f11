"""`sonde-agent tunnel-helper`: rules and a source of connections out of a command line."""

import argparse
import os
import socket
import sys
from pathlib import Path

import structlog

from sonde_agent import config, log
from sonde_agent.notify import Notifier
from sonde_agent.tunnel import backends, helper, helper_rules
from sonde_agent.tunnel.user import named

OK, FAILED, USAGE = 0, 1, 2

_NOTIFY = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


def run(args: argparse.Namespace) -> int:
    """Be the helper; give the exit code.

    Raises:
        ConfigError: the configuration can't be used.
    """
    if os.geteuid() != 0:
        return _complain(FAILED, "must run as root: it makes network namespaces and devices")
    try:
        user = named(args.user)
    except LookupError as error:
        return _complain(USAGE, f"--user: {error}")
    if args.profile:
        rules = helper_rules.by_hand(args.profile, args.username_file, args.password_file, args.unlock)
    else:
        rules = helper_rules.load(config.find(args.config))
    log.configure()
    accept: helper.Accept = helper.accept_from_listener
    if args.fd is not None:
        source, accept = socket.socket(fileno=args.fd), helper.accept_from_parent
    elif args.socket:
        try:
            source = helper.listen(args.socket, user.gid)
        except OSError as error:
            return _complain(FAILED, f"--socket {args.socket}: {error.strerror or error}")
    elif (passed := helper.listener_of_systemd()) is not None:
        source = passed
    else:
        return _complain(USAGE, "nowhere to listen: give --socket PATH, or start it by its systemd socket")
    # Besides the log line: each box is forked with what this imports, and need not load it in its own time.
    lacking = {name: lacks for name, lacks in backends.lacking().items() if lacks is not None}
    usable = sorted(backends.BACKENDS.keys() - lacking.keys())
    if not args.profile:  # by hand, the report alone is to be read
        structlog.get_logger().info("ready", backends=usable, tunnels=rules.most, lacking=lacking)
    try:
        # openvpn and charon would speak to systemd too, had they its socket's name.
        notifier = Notifier({name: os.environ.pop(name, "") for name in _NOTIFY})
        helper.Helper(rules, user).serve(source, accept, notifier)
    finally:
        if args.socket:
            Path(args.socket).unlink(missing_ok=True)
    return OK


def _complain(code: int, text: str) -> int:
    sys.stderr.write(f"sonde-agent: {text}\n")
    return code
