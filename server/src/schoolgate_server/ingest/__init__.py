"""The one way into the store: source rows are parsed, shaped, identified, compared and committed here."""
