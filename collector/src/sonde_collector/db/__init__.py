"""The only room that speaks SQL: connections, schema, partitions, COPY. Statements live in ``sql/``."""
