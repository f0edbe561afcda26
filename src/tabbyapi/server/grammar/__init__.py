"""Constrained output: grammars made of schemas, checked before the engine sees them."""
