"""What a command line does before and beside its work: odd arguments, closed streams, an impatient user."""

import json
import signal
import subprocess
import sys

import pytest
from support.programs import BIN, run

AGENT, COLLECTOR = str(BIN / "sonde-agent"), str(BIN / "sonde-collector")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ping", ""), "nothing that can be measured"),
        (("dns", ""), "nothing that can be measured"),
        (("ping", "127.0.0.1", "--wait", "9999d"), "--wait must be at most 1h"),
        (("ping", "127.0.0.1", "--wait", "99999999999d"), "must be a duration"),
        (("http", "http://u:p@127.0.0.1/"), "holds a user or password"),
        (("http", "http://[::1"), "is no URL"),
        (("http", "http://127.0.0.1/a b"), "nothing that can be measured"),
        (("http", "http://127.0.0.1/", "--ca", "no-such.pem"), "--ca no-such.pem: no file that can be read"),
        (("http", "http://127.0.0.1/", "--method", "B AD"), "--method 'B AD': must be one word"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    """Arguments that mean nothing are told apart from a check that failed."""
    done = run("sonde-agent", "check", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", [AGENT, COLLECTOR])
def test_an_argument_that_is_no_text_is_named(program: str) -> None:
    """Bytes that are not UTF-8 are refused before anything is done with them."""
    done = subprocess.run([program.encode(), b"\xff"], capture_output=True, check=False, timeout=30)
    assert done.returncode == 2
    assert b"is not UTF-8 text" in done.stderr


def test_ctrl_c_while_it_loads_is_quiet() -> None:
    """An interrupt before the command line is loaded ends the process without a traceback."""
    code = (
        "import os, signal; from sonde_proto import console; "
        "console.run('x', lambda: os.kill(os.getpid(), signal.SIGINT))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=30)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == b""


def test_closed_output_is_no_defect() -> None:
    """With standard output closed a check still runs and says nothing."""
    done = subprocess.run(
        ["sh", "-c", f"{AGENT} check tcp 127.0.0.1:1 --timeout 1s >&-"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr == ""


def test_a_broken_off_run_says_nothing_of_our_own_overhead() -> None:
    """A refused connection has no client overhead: NULL means not measured."""
    done = run("sonde-agent", "check", "tcp", "127.0.0.1:1", "--json")
    assert "overhead_ms" not in json.dumps(json.loads(done.stdout))
