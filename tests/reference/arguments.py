"""What one number stands for."""


def pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
