"""Capacity: limits, the counters behind them, and the queue of calls that wait for them.

This package knows route keys and limits, but neither providers' health nor HTTP. It is below `proxy/upstream`, which
uses it for the limits of provider keys.
"""
