"""What a step does, in C where the machine has a compiler for it.

Torch's own operations do the same in `linear.py`, `norm.py`, `attention.py` and `lora_plan.py`; here each is one call,
and one pass over what it reads. `products.c` is for processors with tile registers (AMX), the rest for every one.
"""
