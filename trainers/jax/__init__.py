"""The transformer and its engine on JAX and Equinox."""
