"""The trainer behind ``lion-train``: one small transformer, one loop, three frameworks.

The loop, the data, the schedule and the checkpoints know no framework. What differs between
PyTorch, MLX and JAX stands behind the ``Engine`` protocol (``engine.py``), in the folders
``torch``, ``mlx`` and ``jax``, which have the same files with the same functions.
"""
