"""How many windows an axis has room for: the rule that convolutions and poolings share."""


def window_count(
    op: str, axis: str, size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool = False
) -> int:
    """floor((size + padding - reach)/stride) + 1 windows, for a kernel that reaches dilation*(kernel - 1) + 1.

    `ceil_mode` rounds up instead.
    """
    reach = dilation * (kernel - 1) + 1
    windows = (size + padding - reach + (stride - 1 if ceil_mode else 0)) // stride + 1
    if windows < 1:
        dilated = f" (kernel {kernel} with dilation {dilation})" if dilation > 1 else ""
        raise ValueError(
            f"{op}: the kernel's {axis} {reach}{dilated} is larger than the padded input's {axis} "
            f"{size + padding} ({size} and {padding} of padding)"
        )
    return windows
