"""Forked children that never return into their parent's code."""

import os
import sys
import traceback
from collections.abc import Callable

from sonde_agent.log import debug


def fork(run: Callable[[], None]) -> int:
    """Run `run` in a child process, which ends with it; give its pid. For a process with one thread."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        run()
        code = 0
    except BaseException as error:  # noqa: BLE001 -- whatever it is must not unwind into the parent's frames
        if debug():
            traceback.print_exc()
        else:
            sys.stderr.write(f"sonde-agent: {where(error)}\n")
            sys.stderr.flush()
    finally:
        os._exit(code)


def where(error: BaseException) -> str:
    """Give a defect as one line without its text, which might hold what was in a profile. **Pure.**"""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    at = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"unexpected error, a defect of ours: {type(error).__name__}{at}"
