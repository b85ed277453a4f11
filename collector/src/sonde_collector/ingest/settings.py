"""What an operator may set about ingestion, as the rest of the room reads it."""

from typing import Literal

from attrs import field, frozen, validators


@frozen(kw_only=True)
class IngestSettings:
    """Settings of ingestion.

    Attributes:
        fk_check: "row": PostgreSQL's foreign key triggers; "batch": parents verified and locked once a write.
        writers: threads, each with one connection of its own. [1..16]
        max_batch_rows: most rows of one transaction; a single larger batch is written alone.
        queue_bytes: streams are not read while more than this waits for a writer. [bytes]
        retention_s: results measured longer ago than this are rejected as too old. [s]
        partition_every: how long one partition lasts, for those that late results still need.
    """

    fk_check: Literal["row", "batch"] = "row"
    writers: int = field(default=2, validator=(validators.ge(1), validators.le(16)))
    max_batch_rows: int = field(default=20_000, validator=validators.ge(1))
    queue_bytes: int = field(default=64 << 20, validator=validators.ge(1))
    retention_s: float = 30 * 86_400.0
    partition_every: Literal["month", "week", "day"] = "month"
