"""kopf's entry points for the kinds that change seldom: they only enqueue keys."""
