"""Damaged inputs for every reader: `make fuzz SECONDS=60`. None may end in a traceback, hang, or fill the memory."""
