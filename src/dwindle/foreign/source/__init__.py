"""Recipes as text — source code, a line, a call — read by their syntax tree and never run."""
