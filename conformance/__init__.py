"""The conformance suite: is this Lion the Lion of docs/spec.md, and if not, what is it instead?

docs/conformance.md explains levels, verdicts and the proof of the bounds.
"""
