"""Comparisons of this tap with other ways to read the same API."""
