"""Features of a frozen encoder: computed once, stored, verified, read in every epoch."""
