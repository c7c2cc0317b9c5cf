"""What a step does between its linear layers, in C where the machine has a compiler for it.

Torch's own operations do the same in `norm.py`, `attention.py` and `lora_plan.py`; here each is one call, and one pass
over what it reads.
"""
