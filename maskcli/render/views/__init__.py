"""Views: records as named sections of parts, one file per command. Renderers decide how the parts look."""
