"""Results on disk until they are safe elsewhere."""

from sonde_agent.spool.model import Chunk, Diverged, SpoolError, SpoolStats, StreamView
from sonde_agent.spool.store import Spool

__all__ = ["Chunk", "Diverged", "Spool", "SpoolError", "SpoolStats", "StreamView"]
