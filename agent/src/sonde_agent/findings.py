"""What the doctor says: one line each."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor.

    Attributes:
        name: the capability.
        state: "ok", "lacking" (something can't be measured or sent) or "note" (it can, with less).
        detail: what was found.
        mend: what to do; empty where nothing is to be done.
    """

    name: str
    state: str
    detail: str
    mend: str = ""
