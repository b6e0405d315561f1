"""Where the pixels of images lie: NHWC."""


cdef struct Image:
    # Strides in elements, and sizes.
    Py_ssize_t image, row, col, rows, cols


cdef inline Image nhwc(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t channels) noexcept nogil:
    cdef Image image
    image.image, image.row, image.col = rows*cols*channels, cols*channels, channels
    image.rows, image.cols = rows, cols
    return image
