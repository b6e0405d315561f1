"""What was built, what this processor can run, and how many threads OpenMP would use."""

cdef extern from "_cpu.h" nogil:
    int cpu_has_x86_v3()
    int cpu_has_x86_v4()
    int cpu_has_avx512_bf16()
    int cpu_has_amx()
    int cpu_permit_amx()
    int prepare_for_forks()
    int openmp_threads()
    int openmp()
    int single_threaded
cdef extern from *:
    const char* CONVKIT_ISAS
    const char* CONVKIT_KERNELS
    const char* CONVKIT_OWN_KERNELS

#: Instruction sets and kernels that this build holds: the registry of CMakeLists.txt.
isas_built = tuple((<bytes>CONVKIT_ISAS).decode().split())
kernels = tuple((<bytes>CONVKIT_KERNELS).decode().split())

#: Kernels that only one variant has, as "variant.kernel": the same registry.
own_kernels = tuple((<bytes>CONVKIT_OWN_KERNELS).decode().split())

#: The OpenMP version date the kernels were compiled against, 0 without OpenMP.
openmp_version = openmp()


def isas_supported():
    """Instruction sets this processor and operating system can run, built or not, the best first."""
    found = {
        "amx": cpu_has_amx(), "avx512_bf16": cpu_has_avx512_bf16(), "x86_v4": cpu_has_x86_v4(),
        "x86_v3": cpu_has_x86_v3(), "baseline": 1,
    }
    return tuple(isa for isa, has in found.items() if has)


def permit_amx():
    """Ask the kernel for AMX tiles, for this process; False where it refuses."""
    return bool(cpu_permit_amx())


def available_threads():
    """Threads OpenMP would use: OMP_NUM_THREADS, the affinity mask, or what threadpoolctl set."""
    return openmp_threads()


def usable_threads(int threads):
    """One in a forked child that inherited a pool of dead workers, else `threads`."""
    return 1 if single_threaded else threads


if prepare_for_forks() != 0:
    raise ImportError("convkit: pthread_atfork failed: there is no memory for the fork handlers")
