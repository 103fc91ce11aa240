"""How a process that syncs uses memory and looks for garbage: set once where it starts.

Not here: anything that changes a result.
"""

import gc

import pyarrow as pa


def tune_process() -> None:
    # The system's allocator gives memory back between listings: a fifth less at the peak, for the same work.
    pa.set_memory_pool(pa.system_memory_pool())
    # Pages become hundreds of thousands of objects without a cycle: looking for cycles costs a tenth, and finds none.
    gc.set_threshold(100_000, 20, 100)
