"""The transformer and its engine on MLX, after an optimised BLAS has been loaded (blas.py)."""

from lion_ports.trainers.mlx import blas

blas.load()
