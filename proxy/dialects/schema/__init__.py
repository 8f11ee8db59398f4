"""Translation of JSON Schema to the schema languages of targets.

`express` (in `express.py`) takes a schema of any draft from 4 to 2020-12 and a `Language`. It returns an equivalent
schema in that language, or a more permissive one with the list of keywords that were lost.
"""
