"""`make demo`: the whole pipeline on one machine, and what it measures beside what is true."""

from sonde_lab.demo.run import run

__all__ = ["run"]
