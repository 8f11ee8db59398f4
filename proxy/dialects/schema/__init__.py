"""JSON Schema for targets whose schema languages differ.

`express` (in `express.py`) takes a schema of any draft from 4 to 2020-12 and a `Language`, and returns a schema that
uses only what the language has: an equivalent one, or a wider one with the list of what was lost.
"""
