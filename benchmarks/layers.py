"""What benchmarks run on: the convolutions of the usual networks, a suite for each, and operations that move memory.

A convolution's name is its shape, so a name from a table can be given back to `--layers`, and so can one that is in
no suite::

    n16c64h56k128r3s2p1d1g1     16 images of 64 channels, 56x56; 128 filters of 3x3; stride 2, padding 1
    n1c512h32k256r2s2p0t        t: a transposed convolution

Left out, n is the suite's batch, p is what keeps the size of an odd kernel at stride 1, and s, d and g are 1.
"""

import dataclasses
import re
from dataclasses import dataclass
from typing import Self

Shape = tuple[int, int, int, int]

#: The passes of a convolution, and of an operation that moves memory, in the order in which they are shown.
PASSES = ("forward", "backward_input", "backward_weight")
MEMORY_PASSES = ("forward", "backward")


@dataclass(frozen=True)
class Layer:
    """A convolution over square images, with a square kernel."""

    batch: int
    channels: int
    size: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    transposed: bool = False

    @classmethod
    def parse(cls, name: str, batch: int = 1) -> Self:
        """Make a layer of its name; `batch` is for a name without."""
        if not re.fullmatch(r"(n\d+)?c\d+h\d+k\d+r\d+(s\d+)?(p\d+)?(d\d+)?(g\d+)?t?", name):
            raise ValueError(f"{name!r} is not a layer's name, such as n16c64h56k128r3s2")
        given = {letter: int(digits) for letter, digits in re.findall(r"([a-z])(\d+)", name)}
        get = given.get
        same = get("d", 1) * (given["r"] - 1) // 2
        transposed = name.endswith("t")
        sizes = given["c"], given["h"], given["k"], given["r"], get("s", 1)
        return cls(get("n", batch), *sizes, get("p", 0 if transposed else same), get("d", 1), get("g", 1), transposed)

    @property
    def name(self) -> str:
        """The shortest name that `parse` reads as this layer."""
        name = f"n{self.batch}c{self.channels}h{self.size}k{self.outputs}r{self.kernel}"
        same = 0 if self.transposed else self.dilation * (self.kernel - 1) // 2
        options = ("s", self.stride, 1), ("p", self.padding, same), ("d", self.dilation, 1), ("g", self.groups, 1)
        name += "".join(f"{letter}{value}" for letter, value, usual in options if value != usual)
        return name + "t" * self.transposed

    @property
    def input_shape(self) -> Shape:
        """Shape (N, C, H, W)."""
        return self.batch, self.channels, self.size, self.size

    @property
    def weight_shape(self) -> Shape:
        """Shape (K, C/groups, R, S); of a transposed convolution (C, K/groups, R, S)."""
        first, second = (self.channels, self.outputs) if self.transposed else (self.outputs, self.channels)
        return first, second // self.groups, self.kernel, self.kernel

    @property
    def output_shape(self) -> Shape:
        """Shape (N, K, P, Q)."""
        span = self.dilation * (self.kernel - 1) + 1
        if self.transposed:
            size = (self.size - 1) * self.stride + span - 2 * self.padding
        else:
            size = (self.size + 2 * self.padding - span) // self.stride + 1
        return self.batch, self.outputs, size, size

    @property
    def options(self) -> dict[str, int]:
        """Keyword arguments, the same in convkit and PyTorch."""
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}

    @property
    def operations(self) -> int:
        """Floating-point operations of one pass: two for each multiply-add, those with padding too."""
        pixels = self.size if self.transposed else self.output_shape[2]
        return 2 * self.batch * pixels**2 * self.outputs * self.channels // self.groups * self.kernel**2

    @property
    def traffic(self) -> int:
        """Bytes that one pass must move at least: each of two operands read once, the result written once."""
        shapes = self.input_shape, self.weight_shape, self.output_shape
        return 4 * sum(a * b * c * d for a, b, c, d in shapes)

    def with_batch(self, batch: int | None) -> Self:
        """Return this layer with another batch, or itself for None."""
        return self if batch is None else dataclasses.replace(self, batch=batch)

    def mirrored(self) -> "Layer":
        """Return the convolution whose backward-input pass is this transposed convolution's forward pass."""
        size = self.output_shape[2]
        return dataclasses.replace(
            self, channels=self.outputs, size=size, outputs=self.channels, transposed=not self.transposed
        )


@dataclass(frozen=True)
class MemoryOp:
    """An operation that costs what it moves: pooling, batch normalisation, activations."""

    op: str
    input_shape: Shape = (32, 64, 56, 56)

    @property
    def name(self) -> str:
        """The name in tables."""
        return self.op


Work = Layer | MemoryOp

MEMORY_OPS = ("max_pool2", "max_pool3s2p1", "avg_pool2", "batch_norm", "elu", "relu")

# Batch, and every distinct convolution of the network. Suites below the blank line ask for something in particular.
_TABLE = {
    # v1.5, as torchvision has it: the 3x3 convolution has the stride.
    "resnet50": (16, """
        c3h224k64r7s2
        c64h56k64r1     c64h56k64r3       c64h56k256r1    c256h56k64r1
        c256h56k128r1   c128h56k128r3s2   c128h28k512r1   c256h56k512r1s2
        c512h28k128r1   c128h28k128r3
        c512h28k256r1   c256h28k256r3s2   c256h14k1024r1  c512h28k1024r1s2
        c1024h14k256r1  c256h14k256r3
        c1024h14k512r1  c512h14k512r3s2   c512h7k2048r1   c1024h14k2048r1s2
        c2048h7k512r1   c512h7k512r3"""),
    "vgg16": (16, """
        c3h224k64r3     c64h224k64r3      c64h112k128r3   c128h112k128r3   c128h56k256r3
        c256h56k256r3   c256h28k512r3     c512h28k512r3   c512h14k512r3"""),
    "alexnet": (16, """
        c3h224k64r11s4p2  c64h27k192r5  c192h13k384r3  c384h13k256r3  c256h13k256r3"""),
    "mobilenet_v2": (16, """
        c3h224k32r3s2
        c32h112k32r3g32     c32h112k16r1   c16h112k96r1
        c96h112k96r3s2g96   c96h56k24r1    c24h56k144r1
        c144h56k144r3g144   c144h56k24r1   c144h56k144r3s2g144   c144h28k32r1   c32h28k192r1
        c192h28k192r3g192   c192h28k32r1   c192h28k192r3s2g192   c192h14k64r1   c64h14k384r1
        c384h14k384r3g384   c384h14k64r1   c384h14k96r1          c96h14k576r1
        c576h14k576r3g576   c576h14k96r1   c576h14k576r3s2g576   c576h7k160r1   c160h7k960r1
        c960h7k960r3g960    c960h7k160r1   c960h7k320r1          c320h7k1280r1"""),
    # V3-large. Convolutions over 1x1 are those of squeeze-and-excitation.
    "mobilenet_v3": (16, """
        c3h224k16r3s2
        c16h112k16r3g16     c16h112k16r1   c16h112k64r1
        c64h112k64r3s2g64   c64h56k24r1    c24h56k72r1
        c72h56k72r3g72      c72h56k24r1    c72h56k72r5s2g72      c72h1k24r1     c24h1k72r1     c72h28k40r1
        c40h28k120r1        c120h28k120r5g120                    c120h1k32r1    c32h1k120r1    c120h28k40r1
        c40h28k240r1        c240h28k240r3s2g240                  c240h14k80r1
        c80h14k200r1        c200h14k200r3g200                    c200h14k80r1
        c80h14k184r1        c184h14k184r3g184                    c184h14k80r1
        c80h14k480r1        c480h14k480r3g480                    c480h1k120r1   c120h1k480r1   c480h14k112r1
        c112h14k672r1       c672h14k672r3g672                    c672h1k168r1   c168h1k672r1   c672h14k112r1
        c672h14k672r5s2g672                                      c672h7k160r1
        c160h7k960r1        c960h7k960r5g960                     c960h1k240r1   c240h1k960r1   c960h7k160r1"""),
    # The classic one over 256x256, with padding.
    "unet": (1, """
        c1h256k64r3     c64h256k64r3      c64h128k128r3   c128h128k128r3   c128h64k256r3   c256h64k256r3
        c256h32k512r3   c512h32k512r3     c512h16k1024r3  c1024h16k1024r3
        c1024h16k512r2s2t   c1024h32k512r3   c512h32k256r2s2t   c512h64k256r3
        c256h64k128r2s2t    c256h128k128r3   c128h128k64r2s2t   c128h256k64r3   c64h256k2r1"""),
    "lenet5": (128, "c1h28k6r5  c6h14k16r5p0"),
    "fashion": (128, "c1h28k16r5  c16h14k32r5"),
    "cifar_resnet": (128, "c3h32k16r3  c16h32k16r3  c16h32k32r3s2  c32h16k32r3  c32h16k64r3s2  c64h8k64r3"),

    # Few channels, or numbers of them that no vector divides.
    "narrow": (16, """
        c1h28k32r3      c1h64k20r3      c1h224k64r7s2   c3h32k20r3      c3h64k33r5      c3h224k32r3s2
        c64h56k1r1      c64h56k3r3      c3h64k3r3       c17h56k17r3     c20h56k20r3     c33h28k33r3
        c50h28k50r3     c17h28k50r1     c50h28k17r1     c20h28k50r5     c33h14k20r5s2   c100h14k100r3"""),
    "depthwise": (16, """
        n32c64h56k64r3g64   c32h112k32r3g32   c96h112k96r3s2g96   c144h56k144r5g144   c72h56k72r5s2g72
        c672h14k672r5g672   c960h7k960r3g960  c96h56k96r7g96      c33h28k33r3g33      c64h56k64r3d2g64
        c32h56k64r3g32"""),
    # ResNeXt-50 32x4d, AlexNet as it was first published, ShuffleNet.
    "grouped": (16, """
        n32c64h56k64r3g8    c128h56k128r3g32    c256h56k256r3s2g32  c256h28k256r3g32   c512h28k512r3s2g32
        c512h14k512r3g32    c1024h14k1024r3s2g32                    c1024h7k1024r3g32  c96h27k256r5g2
        c384h13k384r3g2     c240h28k240r1g3     c60h28k240r1g3"""),
    "dilated": (16, "n32c64h56k64r3d2  c256h28k256r3d2  c512h28k512r3d4"),
}  # fmt: skip

#: Every suite's work, by the suite's name; no shape twice.
SUITES: dict[str, tuple[Work, ...]] = {
    suite: tuple(dict.fromkeys(Layer.parse(name, batch) for name in names.split()))
    for suite, (batch, names) in _TABLE.items()
} | {"elementwise": tuple(MemoryOp(op) for op in MEMORY_OPS)}
