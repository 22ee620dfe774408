"""`python -m tests.unit.student_trainer.loss.compile_kernels CAPABILITY`: kernels as machine code for such a GPU.

Fails where they don't compile, or where logits aren't read 16 bytes at a time. Needs Triton, and no GPU.
"""

import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from student_trainer.loss import tail_triton

SIGNATURES: dict[Any, dict[str, str]] = {
    tail_triton._sum_up: {"most": "*fp32", "total": "*fp32", "best": "*i64"},
    tail_triton._write_gradient: {"most": "*fp32", "factor": "*fp32"},
}


def main(capability: int) -> None:
    for kernel, between in SIGNATURES.items():
        for dtype in ("bf16", "fp16", "fp32"):
            signature = {"logits": f"*{dtype}", **between, "columns": "i32", "BLOCK": "constexpr"}
            compiled(kernel, signature, capability, aligned=False)  # as with a vocabulary of an odd size
            ptx = compiled(kernel, signature, capability, aligned=True)
            assert "ld.global.v4.b32" in ptx, f"{kernel.__name__} reads {dtype} in small pieces"


def compiled(kernel: Any, signature: dict[str, str], capability: int, aligned: bool) -> str:
    """The assembly of what was compiled; `aligned` says that pointers and sizes are multiples of 16."""
    alignment: Any = {(place,): [["tt.divisibility", 16]] for place in range(len(signature) - 1) if aligned}
    source = ASTSource(kernel, signature, {"BLOCK": tail_triton.BLOCK}, alignment)
    target = GPUTarget("cuda", capability, 32)
    made = triton.compile(source, target=target, options={"num_warps": tail_triton.WARPS})
    assert made.asm["cubin"]
    return str(made.asm["ptx"])


if __name__ == "__main__":
    main(int(sys.argv[1]))
