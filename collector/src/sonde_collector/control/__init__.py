"""Telling each agent what to run, and hearing how it is."""
