"""Models of reward and preference learned from compared segments, in torch: equations as pure functions of tensors."""
