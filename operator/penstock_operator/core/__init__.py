"""Decisions: plain functions of typed values and `now`. No client, clock, loop or log; `reconcile` calls them."""
