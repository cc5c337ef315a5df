"""The transformer and its engine on PyTorch."""
