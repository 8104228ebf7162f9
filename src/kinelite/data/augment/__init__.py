"""Augmentation: one random draw per clip, one resample per frame, uint8 from end to end; and the test transform.

A `Policy` says what may happen, `draw` decides it once for a clip, `apply` does it to all frames: one matrix from the
result to the frame, then colours in the order drawn, then the black box. Frames may be views of ``[t, h, w, c]``
memory, which is the fast case; so are the results.
"""

from kinelite.data.augment.applied import apply
from kinelite.data.augment.draws import Draw, draw
from kinelite.data.augment.policies import POLICIES, Policy, policy
from kinelite.data.augment.views import fixed_draw, resize

__all__ = ["POLICIES", "Draw", "Policy", "apply", "draw", "fixed_draw", "policy", "resize"]
