"""Measurements: what a model, a device or an input pipeline really takes, side by side with others in one run."""
