"""What may become of a school's registration."""

from __future__ import annotations

CHANGEABLE = frozenset(
    {
        "display_name",
        "settings",
        "data_profile",
        "code_mappings",
        "time_zone",
        "academic_year",
        "parser_versions",
        "hold_thresholds",
        "schedules",
        "quiet_hours",
    }
)
"""Fields of a school that may change; its id and its connector stay."""
