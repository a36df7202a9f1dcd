"""Mesh and placement, the processes of a run, chips: the only room that knows devices."""
