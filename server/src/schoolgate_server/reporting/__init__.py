"""Answers to a school's own questions, computed from records that somebody else has read; pure."""
