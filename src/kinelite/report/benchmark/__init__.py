"""Measurements of models on devices: what is comparable in one column, beside what papers published."""

from __future__ import annotations
