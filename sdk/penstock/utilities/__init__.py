"""Names that Prefect's users import from its `utilities`; they are defined elsewhere."""
