"""The terminal commands, driven as a person or a script would: as a program, in pipes and ttys."""
