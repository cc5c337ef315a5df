"""A training loop as one would write it by hand, on each framework, with the trainer's model.

hand_written(contender, settings, weights)     a function (tokens, lr) -> loss
"""
