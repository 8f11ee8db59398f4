"""Trains the prompt classifier: `python -m proxy.routing.train --data FOLDER --out FILE`.

It needs numpy and scikit-learn, which are development dependencies.
"""
