"""What can be wrong with a database, each as one message for people that says what to do."""


class DatabaseError(Exception):
    """The database can't be used as it is; the text says why and what to do."""


class Unreachable(DatabaseError):
    """Nothing answers at the URL, or what answers is not ready."""


class AccessDenied(DatabaseError):
    """The server answers and refuses this user, password or database."""


class Unsuitable(DatabaseError):
    """A server that Sonde can't use: too old, pooled, or in another time zone."""


class SchemaError(DatabaseError):
    """The schema is not the one that this program needs."""


class SchemaMissing(SchemaError):
    """The database has none of Sonde's tables."""


class SchemaTooOld(SchemaError):
    """Migrations of this program are not applied yet."""


class SchemaTooNew(SchemaError):
    """A newer program migrated the database."""


class SeedSchemaFound(SchemaError):
    """The database holds tables of ours by name that we did not make."""


class MigrationChanged(SchemaError):
    """A migration file differs from what was applied."""


class EmbeddedError(DatabaseError):
    """The embedded PostgreSQL can't be started here."""


class BackupError(DatabaseError):
    """A backup can't be made, or is not fit to be restored here."""
