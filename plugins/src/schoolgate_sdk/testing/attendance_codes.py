"""The attendance codes of England from 19 August 2024 (SI 2024/208, regulation 10)."""

from __future__ import annotations

from types import MappingProxyType

CURRENT_CODES = MappingProxyType(
    {
        "/": "Present (AM)",
        "\\": "Present (PM)",
        "L": "Late before the register closed",
        "K": "Education provision arranged by the local authority",
        "V": "Educational visit or trip",
        "P": "Sporting activity",
        "W": "Work experience",
        "B": "Other approved educational activity",
        "C": "Leave in exceptional circumstances",
        "C1": "Regulated performance or employment abroad",
        "C2": "Part-time timetable",
        "E": "Suspended or permanently excluded",
        "I": "Illness",
        "J1": "Interview",
        "M": "Medical or dental appointment",
        "R": "Religious observance",
        "S": "Study leave",
        "T": "Parent travelling for work",
        "G": "Holiday not granted by the school",
        "N": "Reason for absence not yet established",
        "O": "Absent in other or unknown circumstances",
        "U": "Late after the register closed",
        "D": "Dual registered at another school",
        "Q": "Lack of access arrangements",
        "X": "Non-compulsory school age",
        "Y1": "Transport not available",
        "Y2": "Widespread disruption to travel",
        "Y3": "Part of the school premises closed",
        "Y4": "Whole school site unexpectedly closed",
        "Y5": "Criminal justice detention",
        "Y6": "Public health guidance or law",
        "Y7": "Other unavoidable cause",
        "Z": "Prospective pupil not on admission register",
        "#": "Planned whole school closure",
    }
)
"""Every code in use with its description."""

RETIRED_CODES = MappingProxyType(
    {
        "H": "Holiday granted by the school",
        "J": "Interview",
        "Y": "Unable to attend due to exceptional circumstances",
    }
)
"""Codes of earlier years, kept for history."""
