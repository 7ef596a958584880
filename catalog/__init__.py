"""Prunedex's catalog: reads, checks, queries, cites and publishes the entries."""
