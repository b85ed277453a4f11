"""What a command line of ours does before it loads: Ctrl-C, closed streams, arguments that are no text."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

USAGE = 2


def run(program: str, load: Callable[[], Callable[[Sequence[str]], int]]) -> int:
    """Load a command line and run it on this process's arguments; give the exit code.

    While it loads, Ctrl-C ends the process without a word; afterwards it is KeyboardInterrupt again.

    Args:
        program: the name that messages begin with.
        load: imports the command line and gives its main function.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    open_streams()
    if bad := next((argument for argument in sys.argv[1:] if not is_text(argument)), None):
        sys.stderr.write(f"{program}: the argument {bad!a} is not UTF-8 text\n")
        return USAGE
    main = load()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return main(sys.argv[1:])


def open_streams() -> None:
    """Put /dev/null where the caller closed standard input, output or error (`>&-`)."""
    nowhere = Path(os.devnull)
    sys.stdin = sys.stdin or nowhere.open(encoding="utf-8")
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")


def is_text(argument: str) -> bool:
    """Tell whether an argument was UTF-8 on the command line. **Pure.**"""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
