"""Who agents are: the authority, enrolment, renewal, revocation, and the collector's own certificates."""
