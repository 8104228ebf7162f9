"""Which models fit a budget on a device: what is measured, else predicted and labelled so, and the Pareto front."""

from __future__ import annotations
