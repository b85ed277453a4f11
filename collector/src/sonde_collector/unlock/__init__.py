"""Unlock rules as the collector keeps them: which are shipped, which versions are voided."""
