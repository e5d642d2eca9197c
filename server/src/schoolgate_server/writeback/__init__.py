"""Writing back to MISs: what may be written, and the way of a write from its submission to its end."""
